"""A network made ready to enlarge photographs: from any file, on any device, with what it needs found out by trying."""

import contextlib
import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from ext_core.errors import UserError
from ext_core.networks.files import open_generator
from ext_core.networks.onnx_export import session_of
from ext_models.precision import in_memory_format
from ext_models.sides import MULTIPLES

PROBE = 16  # px, least side of an image that is tried; smaller images are continued to it
Run = Callable[[Tensor], Tensor]


@dataclass
class Network:
    """What enlarges.

    ``run`` makes (1, 3, scale * h, scale * w) of (1, 3, h, w), RGB in [0, 1], float32 on ``device``, and neither rounds
    nor clips. h and w are multiples of ``multiple`` and at least ``PROBE``.
    """

    run: Run
    name: str  # for people
    scale: int
    multiple: int
    bytes_per_pixel: float | None  # memory for each LR pixel, where it is known
    device: torch.device
    on_cpu: Callable[[], Run] | None = None  # makes a copy of run on the CPU in float32; None for ONNX
    pools: bool = False  # it averages over the whole image, so that its results depend on the tiles a little
    doubt: str | None = None  # the beginning of a sentence on what its file did not tell


def open_network(
    path: Path,
    options: Path | None = None,
    scale: int | None = None,
    device: str = 'auto',
    half: bool = False,
    key: str = 'params_ema',
) -> Network:
    """A network from a checkpoint, a .safetensors or an .onnx file, or the folder of an experiment.

    Args:
        path (Path): The file or folder.
        options (Path | None): Option file of the network, where the file does not show it.
        scale (int | None): Of the network, where the file does not show it.
        device (str): 'auto', 'cpu' or 'cuda'. Default: 'auto'.
        half (bool): Compute in float16 (GPU) or bfloat16 (CPU). Default: False.
        key (str): Of the weights in the file, where there are several. Default: 'params_ema'.

    Raises:
        UserError: If it cannot be opened, takes other images than RGB or luminance, or does not enlarge.
    """
    if path.suffix.lower() == '.onnx':
        if half:
            raise UserError(
                f'--half is not for {path}: an ONNX file has its own precision. Export it in half precision.'
            )
        if options or scale or key != 'params_ema':
            raise UserError(f'{path} is an ONNX file, which says all of itself. Leave out -opt, --scale and --key.')
        if not path.is_file():
            raise UserError(f'{path} does not exist. Name an .onnx file.')
        network = _tried(functools.partial(run_onnx, path), path.name, torch.device('cpu'), str(path))
        network.bytes_per_pixel = None  # of memory that PyTorch does not see
        return network
    file = open_generator(path, options=options, scale=scale, key=key)
    if file.reduces:
        raise UserError(
            f'{path} holds a {file.type}, which makes images smaller. For that use scripts/synthesize_lr.py; name the '
            'weights of a network that enlarges.'
        )
    if device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: PyTorch finds no GPU. Use --device cpu.')
    place = torch.device('cuda' if device != 'cpu' and torch.cuda.is_available() else 'cpu')
    network = ready(file.net, file.num_in_ch, place, half, str(path), file.type, file.multiple)
    network.doubt = file.doubt
    return network


def ready(
    net: nn.Module,
    channels: int,
    device: torch.device,
    half: bool = False,
    path: str = '',
    kind: str = '',
    multiple: int = 1,
) -> Network:
    """A network of PyTorch in evaluation mode, made ready; it is moved to the device.

    Args:
        channels (int): Of its input: 3, or 1 for luminance.
        path (str), kind (str): Its file and what people call it, for messages. Default: its class.
        multiple (int): What sides must be multiples of, as far as it is known. Default: 1.

    Raises:
        UserError: If it takes neither RGB nor luminance, or does not enlarge.
    """
    path, kind, cpu = path or type(net).__name__, kind or type(net).__name__, torch.device('cpu')
    net = net.requires_grad_(False).to(device)
    network = _tried(_torch_run(net, channels, device, half, path), kind, device, path, multiple)
    network.on_cpu = lambda: _torch_run(copy.deepcopy(net).to(cpu), channels, cpu, False, path)
    network.pools = any(isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d) for layer in net.modules())
    return network


# ---------------------------------------------------------------------- ways to run
def _torch_run(net: nn.Module, channels: int, device: torch.device, half: bool, path: str) -> Run:
    """The way of an RGB image through a network of PyTorch."""
    from ext_arch.luma import EnlargedInputNetwork, LumaNetwork, through_luma
    from ext_arch.resize import bicubic_upscale

    inner: Run = net
    if isinstance(net, EnlargedInputNetwork) and net.pre_upsampled == 'always':
        inner = lambda image: net(bicubic_upscale(image, net.upscale))  # noqa: E731
    elif channels == 1 and not isinstance(net, LumaNetwork):  # one of BasicSR's, trained on luminance
        with torch.inference_mode():
            factor = net(torch.zeros(1, 1, PROBE, PROBE, device=device)).shape[-1] // PROBE
        inner = lambda image: through_luma(net, image, factor)  # noqa: E731
    elif channels not in (1, 3):
        raise UserError(f'{path} takes images of {channels} channels. Name a network for RGB or for luminance.')
    # a third faster on CPUs; on GPUs it is for halves only
    order = torch.channels_last if half or device.type == 'cpu' else torch.contiguous_format
    in_memory_format(net, order)
    low = torch.float16 if device.type == 'cuda' else torch.bfloat16

    def run(image: Tensor) -> Tensor:
        # autocast and not .half(): windows, means and interpolations of some networks are float32 by construction
        with torch.inference_mode(), torch.autocast(device.type, low) if half else contextlib.nullcontext():
            return inner(image.contiguous(memory_format=order)).float()

    return run


def run_onnx(path: Path, image: Tensor) -> Tensor:
    """What an ONNX model makes of an image, (1, 3, h, w) RGB in [0, 1], float32 on the CPU."""
    session = onnx_session(path)
    entry = session.get_inputs()[0]
    kind = np.float16 if entry.type == 'tensor(float16)' else np.float32
    made = session.run(None, {entry.name: image.numpy().astype(kind)})[0]
    return torch.from_numpy(made.astype(np.float32))


@functools.cache
def onnx_session(path: Path) -> Any:
    """A model ready to run, loaded once in a process.

    Raises:
        UserError: If the package is missing, the file cannot be read, or the model does not take colour images of any
            size.
    """
    session = session_of(path)
    entries = session.get_inputs()
    shape = list(entries[0].shape) if len(entries) == 1 else []
    if len(shape) != 4 or shape[1] == 1 or any(isinstance(side, int) for side in shape[2:]):
        raise UserError(
            f'{path} takes {[entry.shape for entry in entries]}, but must take one tensor, (1, 3, height, width), with '
            'free height and width. Export it for colour images, with dynamic axes.'
        )
    return session


# ---------------------------------------------------------------------- what it needs
def _tried(run: Run, name: str, device: torch.device, path: str, least: int = 1) -> Network:
    """Find the smallest multiple of sides that works, the scale, and the memory, with small images.

    Raises:
        UserError: If it fails on all, or does not enlarge by a whole number.
    """
    reason = ''
    for multiple in MULTIPLES:
        if multiple % least:
            continue
        # odd multiples, of which no larger one divides both
        height, width = (multiple * (-(-side // multiple) // 2 * 2 + 1) for side in (PROBE, PROBE + 2 * multiple))
        image = torch.zeros(1, 3, height, width, device=device)
        try:
            with LiveBytes() as live:
                made = run(image)
        except Exception as error:  # networks complain in many ways about sizes, and ONNX has types of its own
            reason = f'{type(error).__name__}: {str(error).strip()}'.splitlines()[0]
            continue
        scale = made.shape[-1] // width
        if scale >= 1 and tuple(made.shape) == (1, 3, height * scale, width * scale):
            return Network(run, f'{name} x{scale}', scale, multiple, live.peak / (height * width), device)
        reason = f'it makes {tuple(made.shape)} of {tuple(image.shape)}'
    raise UserError(f'{path} cannot enlarge RGB images by a whole number: {reason}. Name another network.')


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that were made and are still alive, on any device; ``peak`` is the most."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._live[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self._live.values()))
        return made
