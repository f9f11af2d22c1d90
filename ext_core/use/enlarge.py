"""Enlarge photographs with a network: tiles, alpha, grey, 16 bits, the final size."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ext_core.errors import UserError
from ext_core.use.network import PROBE, Network, Run
from ext_core.use.photographs import Photograph
from ext_models.sides import ALIGN, SMALLEST, continued, is_out_of_memory
from ext_models.tiles import in_tiles, reach_of, spans

MAX_OVERLAP = 32  # LR pixels; docs/upscale.md has what it was measured to do
UNKNOWN_TILE = 512  # px, where the memory of a network is not known
SHARE = 0.5  # of the free memory; the rest is for workspaces of convolutions and for the images themselves
UNKNOWN_BYTES = 2**32  # where the system does not say what is free
_LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601
_CGROUP = Path('/sys/fs/cgroup')


@dataclass
class Enlarger:
    """Makes large photographs of small ones.

    ``tile`` is the longest side of a tile in LR pixels, 0 for whole images, None for what fits into half of the free
    memory; it becomes smaller once that was exhausted. ``overlap`` is the frame of a tile; None for the reach of the
    network, at most ``MAX_OVERLAP``, which is measured once.
    """

    network: Network
    tile: int | None = None
    overlap: int | None = None
    ensemble: bool = False  # mean over eight rotations and reflections
    outscale: float | None = None  # size of the result / size of the image; None for the network's
    alpha: str = 'network'  # or 'bicubic', by which transparency is enlarged
    say: Callable[[str], object] = print
    tell: Callable[[int, int], object] = lambda done, total: None  # gets tiles done and in all, of the image in work

    def __call__(self, photograph: Photograph, deep: bool) -> Photograph:
        """Enlarge one photograph to 16 bits (``deep``) or 8.

        Raises:
            UserError: If the network gives no numbers, or the memory does not suffice for the smallest tile.
        """
        pixels = self._enlarge(photograph.pixels, deep)
        if photograph.alpha is None:
            return replace(photograph, pixels=pixels)
        alpha, size = photograph.alpha[..., None], pixels.shape[:2]
        if alpha.min() == alpha.max():
            large = np.broadcast_to(_array(_levels(_tensor(alpha[:1, :1], 1), deep)), (*size, 1))
        elif self.alpha == 'network':
            large = self._enlarge(alpha, deep)
        else:
            large = _array(_levels(resized(_tensor(alpha, 1), *size), deep))
        return replace(photograph, pixels=pixels, alpha=large[..., 0])

    def _enlarge(self, image: np.ndarray, deep: bool) -> np.ndarray:
        """(h, w, 1 or 3), uint8 or uint16, to the final size."""
        height, width, channels = image.shape
        scale = self.network.scale
        size = max(round(height * (self.outscale or scale)), 1), max(round(width * (self.outscale or scale)), 1)
        direct = size == (height * scale, width * scale)
        run = self_ensemble(self.network.run) if self.ensemble else self.network.run

        def process(piece: Tensor) -> Tensor:
            made = run(piece.to(self.network.device))
            if not bool(made.isfinite().all()):
                raise UserError(
                    f'{self.network.name} gives values that are no numbers. Leave out --half, or train it anew.'
                )
            if channels == 1:  # luma: networks for colour tint grey images a little
                weights = torch.tensor(_LUMA, dtype=made.dtype, device=made.device)
                made = (made * weights[:, None, None]).sum(dim=1, keepdim=True)
            # rounded tile by tile, so that a large result is held as bytes only
            return (_levels(made, deep) if direct else made).cpu()

        made = self._in_tiles(process, continued(_tensor(image), self.network.multiple, PROBE))
        made = made[..., : height * scale, : width * scale]
        return _array(made if direct else _levels(resized(made, *size), deep))

    def _in_tiles(self, process: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        """``process(image)``, in smaller tiles again where the memory does not suffice."""
        network, longest, tile = self.network, max(image.shape[-2:]), self.tile
        align = math.lcm(network.multiple, ALIGN)
        if tile is None:
            tile = UNKNOWN_TILE
            if network.bytes_per_pixel is not None:
                pixels = SHARE * free_bytes(network.device) / network.bytes_per_pixel
                fits = math.prod(image.shape[-2:]) <= pixels
                tile = 0 if fits else max(int(pixels**0.5) - 2 * MAX_OVERLAP, SMALLEST)
        while True:
            whole = not 0 < tile < longest
            if self.overlap is None and not whole:
                reach = network.on_cpu and reach_of(network.on_cpu(), MAX_OVERLAP, (1, network.scale), network.multiple)
                self.overlap = reach or MAX_OVERLAP
                if network.pools:
                    self.say(f'{network.name} averages over all of an image, so tiles change its result: see --tile.')
            overlap = 0 if whole else self.overlap or 0
            total = math.prod(sum(1 for _ in spans(side, tile, overlap, align)) for side in image.shape[-2:])
            done = 0

            def counted(piece: Tensor, total: int = total) -> Tensor:
                nonlocal done
                made = process(piece)
                done += 1
                self.tell(done, total)
                return made

            try:
                return in_tiles(counted, image, tile, overlap, (1, network.scale), align)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                tile = (longest if whole else tile) // 2
                if tile < SMALLEST:
                    raise UserError('the memory does not suffice. End other programs, or use --device cpu.') from error
            self.tile = tile
            if network.device.type == 'cuda':
                torch.cuda.empty_cache()
            self.say(f'The memory does not suffice: going on with tiles of {tile} pixels.')


# ---------------------------------------------------------------------- memory
def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken: on a CPU the least of what the machine and the container say."""
    if device.type == 'cuda':
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    amounts = [UNKNOWN_BYTES]
    with contextlib.suppress(OSError, KeyError, ValueError):  # not Linux
        lines = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
        amounts = [int(lines['MemAvailable'].split()[0]) * 1024]
    with contextlib.suppress(OSError, ValueError):  # no container, or without a limit: 'max'
        limit, used = ((_CGROUP / name).read_text().strip() for name in ('memory.max', 'memory.current'))
        amounts.append(int(limit) - int(used))
    return min(amounts)


# ---------------------------------------------------------------------- images
def self_ensemble(run: Run) -> Run:
    """The mean of what a network makes of the eight rotations and reflections of an image, each turned back.

    Reference: Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017 (EDSR+).
    """

    def mean(image: Tensor) -> Tensor:
        total: Any = 0
        for mirrored in (False, True):
            source = image.flip(-1) if mirrored else image
            for turns in range(4):
                made = run(torch.rot90(source, turns, (-2, -1)).contiguous())
                made = torch.rot90(made, -turns, (-2, -1))
                total = total + (made.flip(-1) if mirrored else made)
        return total / 8

    return mean


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Bicubic with antialiasing, (n, c, h, w), as MATLAB's except for a frame of two pixels."""
    if tuple(image.shape[-2:]) == (height, width):
        return image
    return F.interpolate(image, size=(height, width), mode='bicubic', antialias=True, align_corners=False)


def _tensor(image: np.ndarray, channels: int = 3) -> Tensor:
    """(h, w, c) of 8 or 16 bits to (1, channels, h, w), float32, [0, 1]."""
    top = np.float32(np.iinfo(image.dtype).max)
    return torch.from_numpy(image.astype(np.float32) / top).permute(2, 0, 1)[None].expand(-1, channels, -1, -1)


def _array(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())


def _levels(image: Tensor, deep: bool) -> Tensor:
    """[0, 1] to the nearest of 256 or 65536 levels."""
    levels = (image.clamp(0, 1) * (65535 if deep else 255)).round().to(torch.int32)
    return levels.to(torch.uint16 if deep else torch.uint8)
