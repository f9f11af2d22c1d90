"""What can be wrong with an image, in well-defined doses; images are uint8 BGR (h, w, 3), before and after."""

import cv2
import numpy as np

from ext_core.use.evaluation import Method, upscale

SEED = 0
NOISE, BICUBIC_NOISE = 5, 8  # standard deviations in grey levels
SHARPEN_SIGMA, SHARPEN_AMOUNT = 1.0, 1.5
JPEG_QUALITY = 10
CHECKERBOARD = 6  # grey levels


def eight_bits(image: np.ndarray) -> np.ndarray:
    return image.round().clip(0, 255).astype(np.uint8)


def noisy(image: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    return eight_bits(image + random.normal(0, sigma, image.shape))


def halved(image: np.ndarray) -> np.ndarray:
    """Reduced by 2 and enlarged again; sides are even."""
    from basicsr.utils.matlab_functions import imresize

    return upscale(Method('bicubic', 2), eight_bits(imresize(image.astype(np.float32) / 255, 0.5) * 255))


def sharpened(image: np.ndarray) -> np.ndarray:
    """Unsharp mask."""
    sharp = image.astype(np.float32)
    return eight_bits(sharp + SHARPEN_AMOUNT * (sharp - cv2.GaussianBlur(sharp, (0, 0), SHARPEN_SIGMA)))


def compressed(image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def checkered(image: np.ndarray) -> np.ndarray:
    sign = np.where(np.indices(image.shape[:2]).sum(axis=0) % 2, -1, 1)
    return eight_bits(image + CHECKERBOARD * sign[..., None])


def corruptions(real: np.ndarray, bicubic: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """A true image and its bicubic enlargement, spoilt in different ways, by what was done.

    Args:
        number (int): Of the image, for its noise, which is the same in every call.
    """
    random = np.random.default_rng((SEED, number))
    return {
        'bicubic x2': halved(real),
        f'real + noise {NOISE}': noisy(real, NOISE, random),
        f'bicubic + noise {BICUBIC_NOISE}': noisy(bicubic, BICUBIC_NOISE, random),
        'over-sharpened': sharpened(real),
        f'JPEG {JPEG_QUALITY}': compressed(real),
        f'checkerboard {CHECKERBOARD}': checkered(real),
    }
