"""Measure the generators of finished experiments on folders of images."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ext_core.errors import UserError, user_errors
from ext_core.networks.files import GeneratorFile, open_generator
from ext_core.networks.weight_files import experiment_files
from ext_data.decoding import ImageError, decode_file
from ext_data.preparation.pairs import find_images
from ext_models.sides import in_whole_multiples

METRICS: dict[str, dict[str, Any]] = {
    'psnr': {'type': 'calculate_psnr', 'test_y_channel': True},
    'ssim': {'type': 'calculate_ssim', 'test_y_channel': True},
    'niqe': {'type': 'calculate_niqe', 'better': 'lower'},
    'lpips': {'type': 'calculate_lpips', 'better': 'lower'},
}
Folders = tuple[Path, Path]  # of a test set: HR, LR


# ---------------------------------------------------------------------- experiments
def load_experiment(folder: Path) -> GeneratorFile:
    """The generator of a finished experiment, with its EMA weights where it has them, or one of the box.

    Raises:
        UserError: If the folder lacks its option file or ``models/net_g_latest.pth``, or they do not fit together.
    """
    if not folder.is_dir():
        return open_generator(folder)
    option_file, weights = experiment_files(folder)
    return open_generator(weights, options=option_file)


# ---------------------------------------------------------------------- images
def validation_sets(opt: dict) -> dict[str, Folders]:
    """(HR, LR) folders of the validation sets in an option file, by their names; not of those with several folders."""
    return {
        str(section.get('name', key)): (Path(section['dataroot_gt']), Path(section['dataroot_lq']))
        for key, section in (opt.get('datasets') or {}).items()
        if key.startswith('val') and all(isinstance(section.get(f'dataroot_{side}'), str) for side in ('gt', 'lq'))
    }


def image_pairs(folders: Iterable[Folders]) -> list[tuple[Path, Path]]:
    """(LR, HR) files of (HR, LR) folders.

    Raises:
        UserError: If there are none, or an HR file has no LR file of its name, or two differ in their ending only.
    """
    folders = list(folders)
    with user_errors():
        found = [(lq / path.name, path) for gt, lq in folders for path in find_images(gt, '{name}', 1).values()]
    missing = [str(low) for low, _ in found if not low.is_file()]
    if not found or missing:
        shown = missing or [f'{gt} and {lq}' for gt, lq in folders]
        raise UserError(f'no pairs of equally named images: {", ".join(shown)}.')
    return found


def pairs(opt: dict, gt: Path | None, lq: Path | None) -> list[tuple[Path, Path]]:
    """(LR, HR) files of the folders given, or of the experiment's validation sets."""
    if bool(gt) != bool(lq):
        raise UserError('--gt and --lq belong together: give both folders, or none for the validation sets.')
    return image_pairs([(gt, lq)] if gt and lq else validation_sets(opt).values())


def read(path: Path) -> np.ndarray:
    """A file as uint8 BGR (h, w, 3), see :func:`ext_data.decoding.decode`."""
    try:
        return decode_file(path)
    except ImageError as error:
        raise UserError(f'{error}. Replace it, or remove it from the set.') from error


def tensor_of(image: np.ndarray) -> torch.Tensor:
    """uint8 BGR (h, w, 3) to (1, 3, h, w) RGB in [0, 1]."""
    from basicsr.utils import img2tensor

    return img2tensor(image.astype(np.float32) / 255)[None]


@torch.inference_mode()
def upscale(net: Callable[[torch.Tensor], torch.Tensor], low: np.ndarray) -> np.ndarray:
    """uint8 BGR (h, w, 3) of any size to uint8 BGR (scale h, scale w, 3), on the device of the generator."""
    from basicsr.utils import tensor2img

    device = next(net.parameters()).device if isinstance(net, torch.nn.Module) else 'cpu'
    return tensor2img([in_whole_multiples(net, tensor_of(low).to(device))])


def bicubic(low: np.ndarray, scale: int) -> np.ndarray:
    """MATLAB's bicubic enlargement as BasicSR implements it, uint8 BGR (h, w, 3) to uint8 BGR (scale h, scale w, 3)."""
    from basicsr.utils.matlab_functions import imresize

    return (imresize(low.astype(np.float32) / 255, scale).clip(0, 1) * 255).round().astype(np.uint8)


# ---------------------------------------------------------------------- metrics
def measure(
    image: np.ndarray, gt: np.ndarray, border: int, metrics: Mapping[str, Mapping[str, Any]] = METRICS
) -> dict[str, float]:
    """All metrics, as in ``val:metrics``, of an image and the true one, uint8 BGR (h, w, 3); NaN where one cannot be
    computed for so small an image. ``border`` is the ``crop_border``, in pixels, of those that do not say theirs."""
    from basicsr.metrics import calculate_metric

    measured = dict.fromkeys(metrics, float('nan'))
    for name, options in metrics.items():
        with contextlib.suppress(cv2.error):  # SSIM's, of an image smaller than its window
            measured[name] = float(calculate_metric({'img': image, 'img2': gt}, {'crop_border': border, **options}))
    return measured


def usable_metrics(metrics: Mapping[str, dict]) -> tuple[dict[str, dict], dict[str, str]]:
    """Metrics that can be computed here, and why the others cannot (a package or weights are missing).

    Raises:
        UserError: If a metric is not registered.
    """
    from basicsr.utils.registry import METRIC_REGISTRY

    usable, reasons = {}, {}
    for name, options in metrics.items():
        arguments = {key: value for key, value in options.items() if key != 'type'}
        try:
            check = getattr(METRIC_REGISTRY.get(options['type']), 'check_ready', None)
        except KeyError as error:
            raise UserError(f'val:metrics:{name}: {error}. Correct its type.') from error
        try:
            if check:
                check(**arguments)
            usable[name] = options
        except (UserError, ValueError, OSError) as error:
            reasons[name] = str(error)
    return usable, reasons
