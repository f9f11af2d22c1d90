"""Where in an image to look closely, and the piece as part of an HTML page."""

import base64

import cv2
import numpy as np


def strongest_window(weight: np.ndarray, size: int) -> tuple[int, int, float]:
    """The square whose weights have the greatest sum.

    Args:
        weight (np.ndarray): (h, w), floating point, not negative.
        size (int): Side in pixels, at most h and w.

    Returns:
        tuple[int, int, float]: Top, left, and the sum.
    """
    table = cv2.integral(weight.astype(np.float32))
    sums = table[size:, size:] - table[size:, :-size] - table[:-size, size:] + table[:-size, :-size]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left), float(sums[top, left])


def detail(image: np.ndarray) -> np.ndarray:
    """How much detail is at each pixel of a uint8 BGR image: the size of its Laplacian."""
    return np.abs(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.CV_32F))


def png_data_uri(image: np.ndarray) -> str:
    """A uint8 BGR image (h, w, 3) as the address of a PNG that holds it."""
    return 'data:image/png;base64,' + base64.b64encode(cv2.imencode('.png', image)[1].tobytes()).decode()
