"""The error where the true image is flat, and where it has texture: noise, and distortion, that one PSNR mixes."""

from typing import Literal

import cv2
import numpy as np
from basicsr.metrics.metric_util import reorder_image, to_y_channel
from basicsr.utils.registry import METRIC_REGISTRY

REGIONS = ('flat', 'textured')
WINDOW = 7  # px, in which the variance is taken
SHARE = 1 / 3  # of the pixels that a region has


@METRIC_REGISTRY.register()
def calculate_region_error(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int,
    input_order: Literal['HWC', 'CHW'] = 'HWC',
    region: Literal['flat', 'textured'] = 'flat',
    **kwargs: object,
) -> float:
    """Root of the mean squared error of the luminance in a third of the pixels, those around which the true image
    varies least or most.

    Of a generator trained with a GAN, less the same of the one for PSNR that it starts from: in flat regions the noise
    that it adds, in textured ones how far its texture is from the true one.

    Args:
        img (np.ndarray): Image in [0, 255], BGR or grey.
        img2 (np.ndarray): The true image, of the same shape.
        crop_border (int): Pixels cut off at each side.
        input_order (str): ``HWC`` or ``CHW``. Default: ``HWC``.
        region (str): ``flat``, the third of the pixels whose variance, in a square of 7 px of the true image, is
            smallest, or ``textured``, where it is largest. Default: ``flat``.
        **kwargs: Ignored, as by BasicSR's metrics.

    Returns:
        float: In grey levels (1/255), 0 for equal images, lower is better.

    Raises:
        ValueError: If the images differ in shape, or ``region`` is another.
    """
    if region not in REGIONS:
        raise ValueError(
            f'calculate_region_error: region: {region!r} is not supported; there are {", ".join(REGIONS)}.'
        )
    if img.shape != img2.shape:
        raise ValueError(f'calculate_region_error: the images differ in shape, {img.shape} and {img2.shape}.')
    planes = []
    for image in (img, img2):
        image = reorder_image(image, input_order=input_order).astype(np.float64)
        border = slice(crop_border, -crop_border or None)
        planes.append(to_y_channel(image[border, border])[..., 0])
    sr, gt = planes
    size = (WINDOW, WINDOW)
    variance = cv2.blur(gt * gt, size) - cv2.blur(gt, size) ** 2
    order = variance.ravel().argsort(kind='stable')
    count = max(1, round(SHARE * len(order)))
    chosen = order[:count] if region == 'flat' else order[-count:]
    return float(np.sqrt(((sr - gt).ravel()[chosen] ** 2).mean()))


calculate_region_error.better = 'lower'  # type: ignore[attr-defined]
