"""The perceptual index (PI), and the score of Ma et al. that is half of it; both need no reference image."""

import functools
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from basicsr.metrics import calculate_niqe
from basicsr.metrics.metric_util import reorder_image, to_y_channel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import METRIC_REGISTRY
from torch import nn

from ext_arch.pretrained import FOLDER, weight_folders

MODEL_FILE = 'NRQM_model.mat'
MODEL_URL = f'https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/{MODEL_FILE}'
# Smallest side of which pyiqa can compute all features.
MINIMUM_SIZE = 45

# pyiqa brings 46 packages, 1 GB. Its NRQM needs one of them, and another overwrites OpenCV. Hence --no-deps.
HOW_TO_GET = f"""To get Ma's score (pyiqa's licence allows non-commercial use only):
  pip install --no-deps pyiqa==0.1.16
  pip install huggingface_hub
  curl -L --create-dirs -o {FOLDER}/{MODEL_FILE} {MODEL_URL}
See docs/weights.md. In an option file, `optional: true` leaves the metric out where it cannot run."""


@METRIC_REGISTRY.register()
def calculate_pi(
    img: np.ndarray,
    crop_border: int,
    input_order: Literal['HWC', 'CHW', 'HW'] = 'HWC',
    convert_to: Literal['y', 'gray'] = 'y',
    ma_model: str | None = None,
    **kwargs: object,
) -> float:
    """Perceptual index, lower is better; near 7 for bicubic x4.

    PI = ((10 - Ma) + NIQE) / 2

    It is linear, so the mean over a set is the index of the mean scores, as the challenge reports it. Both scores see
    the same pixels: luma, its border cut off, rounded. NIQE is BasicSR's; see :func:`calculate_ma` for the other.

    Args:
        img (np.ndarray): Image in [0, 255], BGR or grey.
        crop_border (int): Pixels cut off at each side. The challenge (scale 4) cuts 4.
        input_order (str): ``HWC``, ``CHW`` or ``HW``. Default: ``HWC``.
        convert_to (str): ``y`` (of MATLAB's YCbCr, as in the challenge) or ``gray``. Default: ``y``.
        ma_model (str | None): Path of Ma's model; None for a local file, see docs/weights.md. Default: None.
        **kwargs: Ignored, as by BasicSR's metrics.

    Returns:
        float: The index; NaN, with a warning, for images too small or too flat for either score.

    Raises:
        ValueError, OSError: If pyiqa or Ma's model is missing, or ``convert_to`` is unknown.

    Reference: Blau et al., The 2018 PIRM Challenge on Perceptual Image Super-Resolution, ECCVW 2018, eq. 1.
    """
    luma = _luma(img, crop_border, input_order, convert_to)
    return ((10 - _score(luma, ma_model)) + calculate_niqe(luma, 0, input_order='HW')) / 2


calculate_pi.better = 'lower'  # type: ignore[attr-defined]


@METRIC_REGISTRY.register()
def calculate_ma(
    img: np.ndarray,
    crop_border: int,
    input_order: Literal['HWC', 'CHW', 'HW'] = 'HWC',
    convert_to: Literal['y', 'gray'] = 'y',
    ma_model: str | None = None,
    **kwargs: object,
) -> float:
    """Ma's score (NRQM): 0 to 10, higher is better; computed by the package ``pyiqa`` on the CPU.

    Arguments, result and errors are those of :func:`calculate_pi`.

    Reference: Ma et al., Learning a No-Reference Quality Metric for Single-Image Super-Resolution, CVIU 2017.
    """
    return _score(_luma(img, crop_border, input_order, convert_to), ma_model)


def _check_ready(ma_model: str | None = None, **kwargs: object) -> None:
    """Called by the option check, so that what is missing is said before training instead of at the validation."""
    _nrqm(ma_model)


calculate_pi.check_ready = _check_ready  # type: ignore[attr-defined]
calculate_ma.check_ready = _check_ready  # type: ignore[attr-defined]


def _luma(img: np.ndarray, crop_border: int, input_order: str, convert_to: str) -> np.ndarray:
    """What BasicSR's NIQE makes of an image before it measures: (h, w), whole numbers in [0, 255], float32."""
    if convert_to not in ('y', 'gray'):
        raise ValueError(f"convert_to must be 'y' or 'gray', but is {convert_to!r}.")
    image = img.astype(np.float32)
    if input_order != 'HW':
        image = reorder_image(image, input_order=input_order)
        if convert_to == 'y':
            image = to_y_channel(image)
        elif image.shape[2] == 3:
            image = cv2.cvtColor(image / 255, cv2.COLOR_BGR2GRAY) * 255
        image = np.squeeze(image)
    if crop_border:
        image = image[crop_border:-crop_border, crop_border:-crop_border]
    return image.round()


def _score(luma: np.ndarray, ma_model: str | None) -> float:
    """Ma's score of an image that ``_luma`` made."""
    model = _nrqm(ma_model)
    if min(luma.shape) < MINIMUM_SIZE:
        return _undefined(f'{luma.shape[0]} x {luma.shape[1]} pixels are less than {MINIMUM_SIZE} x {MINIMUM_SIZE}')
    try:
        with torch.inference_mode():
            # One channel in [0, 255]: pyiqa neither converts nor scales it.
            return model(torch.from_numpy(luma.astype(np.float64))[None, None]).item()
    except torch.linalg.LinAlgError:
        return _undefined('the image has too little texture')


def _undefined(reason: str) -> float:
    """As NIQE: one bad image, say of an untrained generator, must not end a training."""
    get_root_logger().warning(f'calculate_ma: nan, {reason}.')
    return float('nan')


@functools.cache
def _nrqm(ma_model: str | None) -> nn.Module:
    """pyiqa's network with Ma's model, read once."""
    try:
        from pyiqa.archs.nrqm_arch import NRQM
    except ImportError as error:
        raise OSError(f"Ma's score needs the package pyiqa: {error}.\n{HOW_TO_GET}") from error
    path = _find_model(ma_model)
    try:
        model = NRQM(pretrained_model_path=str(path))
        model.rf_params_list = [_widened(forest) for forest in model.rf_params_list]
    except Exception as error:  # whatever SciPy and pyiqa say, the file is not the one that they expect
        reason = f'{type(error).__name__}: {error}'
        raise ValueError(f"{path} is not Ma's model ({reason}). Get it anew.\n{HOW_TO_GET}") from error
    return model.eval()


def _widened(forest: list[np.ndarray]) -> list[np.ndarray]:
    """A forest with integers that can be negative.

    SciPy keeps the integer types of the file, down to uint8. pyiqa subtracts 1 from them, and takes -1 for the end of
    a path; with NumPy 2 that is 255.
    """
    left, right, threshold, prediction, feature = forest
    left, right, feature = (indices.astype(np.int64) for indices in (left, right, feature))
    return [left, right, threshold.astype(np.float64), prediction.astype(np.float64), feature]


def _find_model(ma_model: str | None) -> Path:
    """The file that the option names; else the first in the folders of weights and in pyiqa's own cache."""
    if ma_model is not None:
        if not Path(ma_model).is_file():
            raise FileNotFoundError(f"The file of Ma's model {ma_model} (ma_model) does not exist.\n{HOW_TO_GET}")
        return Path(ma_model)
    folders = [*weight_folders(), Path(torch.hub.get_dir()) / 'pyiqa']
    found = next((folder / MODEL_FILE for folder in folders if (folder / MODEL_FILE).is_file()), None)
    if found is None:
        places = ', '.join(str(folder) for folder in folders)
        raise FileNotFoundError(f"Ma's model is missing: {MODEL_FILE} is not in {places}.\n{HOW_TO_GET}")
    return found
