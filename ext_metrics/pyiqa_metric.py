"""Metrics of the package pyiqa as metrics of BasicSR: ``{type: pyiqa.dists}``."""

import functools
import json
from collections.abc import Callable

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image
from basicsr.utils import img2tensor
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor, nn

from ext_losses.pyiqa_networks import PREFIX, build, configs


def pyiqa_metric(
    img: np.ndarray,
    img2: np.ndarray | None = None,
    name: str = 'dists',
    crop_border: int = 0,
    input_order: str = 'HWC',
    weights: str | None = None,
    options: dict | None = None,
    device: str = 'cpu',
    **kwargs: object,
) -> float:
    """A metric of pyiqa: the type is ``pyiqa.`` and its name there.

    Which is better, higher or lower, is what pyiqa says. Metrics without reference see the image alone.

    Args:
        img (np.ndarray): Image in [0, 255], BGR or grey.
        img2 (np.ndarray | None): The true image, of the same shape.
        name (str): As pyiqa calls it; said by the type.
        crop_border (int): Pixels cut off at each side. Default: 0.
        input_order (str): ``HWC`` or ``CHW``. Default: ``HWC``.
        weights (str | None): File of its weights, from a source that you trust; None for those that pyiqa keeps in
            torch's cache, or downloads. Default: None.
        options (dict | None): Further arguments of ``pyiqa.create_metric``. Default: None.
        device (str): Where to compute, for instance ``cuda``. Default: ``cpu``.
        **kwargs: Ignored, as by BasicSR's metrics.

    Raises:
        OSError: If pyiqa or weights are missing.
    """
    model = _built(name, weights, json.dumps(options, sort_keys=True), device)
    images = [_to_tensor(image, crop_border, input_order).to(device) for image in (img, img2) if image is not None]
    with torch.no_grad():
        return float(model(*images))


def _to_tensor(image: np.ndarray, crop_border: int, input_order: str) -> Tensor:
    """BGR or grey image in [0, 255] to RGB or grey in [0, 1], (1, c, h, w)."""
    image = reorder_image(image, input_order=input_order)
    if crop_border:
        image = image[crop_border:-crop_border, crop_border:-crop_border]
    return img2tensor(image.astype(np.float32) / 255)[None]


@functools.cache
def _built(name: str, weights: str | None, options: str, device: str) -> nn.Module:
    """The metric, built once."""
    return build(name, False, weights, json.loads(options)).to(device)


def _metric(name: str, config: dict) -> Callable:
    """The function of one metric; only where it compares does it take a second image."""

    def compared(
        img: np.ndarray, img2: np.ndarray, crop_border: int = 0, input_order: str = 'HWC',
        weights: str | None = None, options: dict | None = None, device: str = 'cpu', **kwargs: object,
    ) -> float:  # fmt: skip
        return pyiqa_metric(img, img2, name, crop_border, input_order, weights, options, device)

    def alone(
        img: np.ndarray, crop_border: int = 0, input_order: str = 'HWC',
        weights: str | None = None, options: dict | None = None, device: str = 'cpu', **kwargs: object,
    ) -> float:  # fmt: skip
        return pyiqa_metric(img, None, name, crop_border, input_order, weights, options, device)

    def check_ready(
        weights: str | None = None, options: dict | None = None, device: str = 'cpu', **kwargs: object
    ) -> None:
        _built(name, weights, json.dumps(options, sort_keys=True), device)

    found: Callable = compared if config['metric_mode'] == 'FR' else alone
    made = {'__module__': 'pyiqa', '__name__': PREFIX + name, '__doc__': pyiqa_metric.__doc__}
    for key, value in {**made, 'check_ready': check_ready}.items():
        setattr(found, key, value)
    found.better = 'lower' if config.get('lower_better') else 'higher'  # type: ignore[attr-defined]
    return found


def register() -> None:
    """Register the metrics of the installed pyiqa, if it is."""
    for name, config in configs().items():
        METRIC_REGISTRY._do_register(PREFIX + name, _metric(name, config))


register()
