"""A network made ready to enlarge photographs: from any file, on any device, with what it needs found out by trying."""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ext_core.errors import UserError
from ext_core.inference.memory import peak_bytes

PROBE = 16  # px, least side of an image that is tried; smaller images are continued to it
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
Run = Callable[[Tensor], Tensor]


@dataclass
class Network:
    """What enlarges.

    Args:
        run (Callable): (1, 3, h, w) RGB in [0, 1], float32 on ``device``, to (1, 3, scale * h, scale * w), float32 on
            ``device``, neither rounded nor clipped. h and w are multiples of ``multiple`` and at least ``PROBE``.
        name (str): For people.
        scale (int): SR size / LR size.
        multiple (int): What the sides of its images must be multiples of.
        bytes_per_pixel (float | None): Memory for each LR pixel; None if it is not known.
        device (torch.device): Where it runs.
        on_cpu (Callable | None): Makes a copy of ``run`` on the CPU in float32; None for others than PyTorch.
        pools (bool): Whether it averages over the whole image, so that its results depend on the tiles a little.
        doubt (str | None): The beginning of a sentence on what its file did not tell.
    """

    run: Run
    name: str
    scale: int
    multiple: int
    bytes_per_pixel: float | None
    device: torch.device
    on_cpu: Callable[[], Run] | None = None
    pools: bool = False
    doubt: str | None = None


def open_network(
    path: Path, options: Path | None = None, scale: int | None = None, device: str = 'auto', half: bool = False
) -> Network:
    """A network from a checkpoint, a .safetensors or an .onnx file, or the folder of an experiment.

    Args:
        path (Path): The file or folder.
        options (Path | None): Option file of the network, where the file does not show it.
        scale (int | None): Of the network, where the file does not show it.
        device (str): 'auto', 'cpu' or 'cuda'. Default: 'auto'.
        half (bool): Compute in float16 (GPU) or bfloat16 (CPU). Default: False.

    Raises:
        UserError: If it cannot be opened, takes other images than RGB or luminance, or does not enlarge.
    """
    if path.suffix.lower() == '.onnx':
        if half:
            raise UserError(
                f'--half is not for {path}: an ONNX file has its own precision. Export it in half precision.'
            )
        if options or scale:
            raise UserError(f'{path} is an ONNX file, which says all of itself. Leave out -opt and --scale.')
        network = _tried(onnx_run(path), path.name, torch.device('cpu'), str(path))
        network.bytes_per_pixel = None  # of memory that PyTorch does not see
        return network
    from ext_core.generators.files import open_generator

    file = open_generator(path, options=options, scale=scale)
    if file.reduces:
        raise UserError(
            f'{path} holds a {file.type}, which makes images smaller. For that use scripts/synthesize_lr.py; name the '
            'weights of a network that enlarges.'
        )
    network = ready(file.net, file.num_in_ch, device_of(device), half, str(path), file.type, file.multiple)
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
    """A network of PyTorch, made ready; it is moved to the device.

    Args:
        net (nn.Module): In evaluation mode.
        channels (int): Of its input: 3, or 1 for luminance.
        device, half: See :func:`open_network`.
        path (str): Its file, for messages.
        kind (str): What people call it; default: its class.
        multiple (int): What sides must be multiples of, as far as it is known. Default: 1.

    Raises:
        UserError: If it takes neither RGB nor luminance, or does not enlarge.
    """
    path, cpu = path or type(net).__name__, torch.device('cpu')
    net = net.requires_grad_(False).to(device)
    run = torch_run(net, channels, device, half, path)
    network = _tried(run, kind or type(net).__name__, device, path, multiple)
    network.on_cpu = lambda: torch_run(copy.deepcopy(net).to(cpu), channels, cpu, False, path)
    network.pools = any(isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d) for layer in net.modules())
    return network


def device_of(name: str) -> torch.device:
    """'auto', 'cpu' or 'cuda' as a device.

    Raises:
        UserError: If it is not there.
    """
    if name == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: PyTorch finds no GPU. Use --device cpu.')
    return torch.device('cuda' if name != 'cpu' and torch.cuda.is_available() else 'cpu')


# ---------------------------------------------------------------------- ways to run
def torch_run(net: nn.Module, channels: int, device: torch.device, half: bool, path: str) -> Run:
    """The way of an RGB image through a network of PyTorch.

    Raises:
        UserError: If the network takes neither RGB nor luminance.
    """
    inner = _colour_way(net, channels, device, path)
    # a third faster on CPUs; on GPUs it is for halves only
    order = torch.channels_last if half or device.type == 'cpu' else torch.contiguous_format
    net.to(memory_format=order)  # type: ignore[call-overload]
    low = torch.float16 if device.type == 'cuda' else torch.bfloat16

    def run(image: Tensor) -> Tensor:
        # autocast and not .half(): windows, means and interpolations of some networks are float32 by construction
        with torch.inference_mode(), torch.autocast(device.type, low) if half else contextlib.nullcontext():
            return inner(image.contiguous(memory_format=order)).float()

    return run


def _colour_way(net: nn.Module, channels: int, device: torch.device, path: str) -> Run:
    from ext_arch.luma import EnlargedInputNetwork, LumaNetwork, through_luma
    from ext_arch.resize import bicubic_upscale

    if channels == 3 or (channels == 1 and isinstance(net, LumaNetwork)):
        if isinstance(net, EnlargedInputNetwork) and net.pre_upsampled == 'always':
            return lambda image: net(bicubic_upscale(image, net.upscale))
        return net
    if channels != 1:
        raise UserError(f'{path} takes images of {channels} channels. Name a network for RGB or for luminance.')
    with torch.inference_mode():  # one of BasicSR's, trained on luminance
        factor = net(torch.zeros(1, 1, PROBE, PROBE, device=device)).shape[-1] // PROBE
    return lambda image: through_luma(net, image, factor)


def onnx_run(path: Path) -> Run:
    """The way of an image through an ONNX model.

    Raises:
        UserError: If it is missing, or the package, or takes other images.
    """
    from ext_core.benchmark.upscalers import onnx_session

    if not path.is_file():
        raise UserError(f'{path} does not exist. Name an .onnx file.')
    session = onnx_session(path)
    entry = session.get_inputs()[0]
    kind = np.float16 if entry.type == 'tensor(float16)' else np.float32

    def run(image: Tensor) -> Tensor:
        made = session.run(None, {entry.name: image.numpy().astype(kind)})[0]
        return torch.from_numpy(made.astype(np.float32))

    return run


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
        height, width = (_odd_multiple(multiple, side) for side in (PROBE, PROBE + 2 * multiple))
        image = torch.zeros(1, 3, height, width, device=device)
        try:
            peak, made = peak_bytes(lambda image=image: run(image))  # type: ignore[misc]
        except Exception as error:  # networks complain in many ways about sizes, and ONNX has types of its own
            reason = f'{type(error).__name__}: {str(error).strip()}'.splitlines()[0]
            continue
        scale = made.shape[-1] // width
        if scale >= 1 and tuple(made.shape) == (1, 3, height * scale, width * scale):
            return Network(run, f'{name} x{scale}', scale, multiple, peak / (height * width), device)
        reason = f'it makes {tuple(made.shape)} of {tuple(image.shape)}'
    raise UserError(f'{path} cannot enlarge RGB images by a whole number: {reason}. Name another network.')


def _odd_multiple(multiple: int, least: int) -> int:
    times = -(-least // multiple)
    return multiple * (times + 1 - times % 2)


def reach_within(network: Network, limit: int) -> int | None:
    """How far an LR pixel's influence reaches: measured, by following a NaN through the network.

    Args:
        network (Network): Of PyTorch.
        limit (int): Largest reach that is told, in LR pixels.

    Returns:
        int | None: In LR pixels; None if it is further than the limit, as that of global pooling always is, or not to
        be measured.
    """
    if network.on_cpu is None:
        return None
    side = _odd_multiple(max(network.multiple, 8), PROBE)
    length = 2 * -(-(limit + 1) // side) * side + side  # one-dimensional, because that is the cheapest
    run = network.on_cpu()  # convolutions of a GPU may spread a NaN further than they spread numbers
    start = length // 2
    image = torch.zeros(1, 3, side, length)
    image[..., start] = torch.nan
    touched = run(image).isnan().any(dim=1).any(dim=1)[0].nonzero().flatten() // network.scale
    if not len(touched):
        return None
    reach = int((touched - start).abs().max()) + network.multiple - 1  # pixels that are folded may reach further
    return reach if reach <= limit else None


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


def padded(image: np.ndarray, multiple: int) -> np.ndarray:
    """Continued at the bottom and the right by its mirror image, to multiples and at least ``PROBE`` pixels.

    Args:
        image (np.ndarray): (h, w, c), of any size from 1 x 1.
        multiple (int): Of both sides.
    """
    height, width = (-(-max(side, PROBE) // multiple) * multiple for side in image.shape[:2])
    # unlike torch's, NumPy's reflection may be longer than the image
    return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode='reflect')


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Bicubic with antialiasing, (n, c, h, w), as MATLAB's except for a frame of two pixels."""
    if tuple(image.shape[-2:]) == (height, width):
        return image
    return F.interpolate(image, size=(height, width), mode='bicubic', antialias=True, align_corners=False)
