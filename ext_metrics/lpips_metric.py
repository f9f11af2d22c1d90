"""LPIPS, the learned perceptual distance, as a metric of BasicSR."""

import functools
from typing import Literal

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor, nn

from ext_losses.lpips_loss import BACKBONES, MINIMUM_SIZE, build_lpips


@METRIC_REGISTRY.register()
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int,
    input_order: Literal['HWC', 'CHW'] = 'HWC',
    net: Literal['alex', 'vgg'] = 'alex',
    weights: str | None = None,
    device: str = 'cpu',
    **kwargs: object,
) -> float:
    """LPIPS 0.1 between two images: 0 for equal images, lower is better.

    The linear layers are those of the package ``lpips``; the trunk's ImageNet weights come from where
    ``ext_arch.pretrained`` finds them.

    Args:
        img (np.ndarray): Image in [0, 255], BGR or grey.
        img2 (np.ndarray): The other image, of the same shape.
        crop_border (int): Pixels cut off at each side before the comparison. The values of papers are without, 0.
        input_order (str): ``HWC`` or ``CHW``; a two-dimensional image is grey. Default: ``HWC``.
        net (str): Trunk: ``alex`` (the authors' choice for measuring) or ``vgg`` (VGG16). Default: ``alex``.
        weights (str | None): Path of the trunk's weights; None for a local file, else torchvision's download.
            Default: None.
        device (str): Where to compute, for instance ``cuda``. Default: ``cpu``.
        **kwargs: Ignored, as by BasicSR's metrics.

    Returns:
        float: The distance, about 0 to 1.

    Raises:
        ValueError, OSError: If ``lpips`` or the weights are missing, ``net`` is unknown, or the images are too small.
        ValueError: If the images differ in shape.

    Reference: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018.
    """
    if net not in BACKBONES:
        raise ValueError(f'calculate_lpips: net: {net!r} is not supported; there are {", ".join(BACKBONES)}.')
    if img.shape != img2.shape:
        raise ValueError(f'calculate_lpips: the images differ in shape, {img.shape} and {img2.shape}.')
    model = _lpips(net, weights, device)
    images = [_to_tensor(image, crop_border, input_order).to(device) for image in (img, img2)]
    if min(images[0].shape[-2:]) < MINIMUM_SIZE[net]:
        raise ValueError(
            f'calculate_lpips: images of {img.shape} with crop_border {crop_border} are too small; '
            f'net: {net} needs {MINIMUM_SIZE[net]} px after cropping.'
        )
    with torch.inference_mode():
        return model(*images).item()


def _check_ready(net: str = 'alex', weights: str | None = None, device: str = 'cpu', **kwargs: object) -> None:
    """Called by the option check, so that what is missing is said before training instead of at the validation."""
    if net in BACKBONES:
        _lpips(net, weights, device)


calculate_lpips.check_ready = _check_ready  # type: ignore[attr-defined]
calculate_lpips.better = 'lower'  # type: ignore[attr-defined]


def _to_tensor(image: np.ndarray, crop_border: int, input_order: str) -> Tensor:
    """BGR or grey image in [0, 255] to RGB in [-1, 1], (1, 3, h, w), which is what LPIPS was calibrated for."""
    image = reorder_image(image, input_order=input_order).astype(np.float32)
    if crop_border:
        image = image[crop_border:-crop_border, crop_border:-crop_border]
    rgb = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).flip(0)
    return (rgb / 127.5 - 1).expand(3, -1, -1)[None]


@functools.cache
def _lpips(net: str, weights: str | None, device: str) -> nn.Module:
    """The network, built once."""
    return build_lpips(net, weights).to(device)
