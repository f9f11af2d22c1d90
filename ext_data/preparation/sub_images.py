"""Overlapping windows: training reads small files instead of decoding 2K photographs for one crop."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """How an HR image is cut, with the meaning of BasicSR's ``extract_subimages.py``.

    Args:
        size (int): Side of a square sub-image in HR pixels.
        step (int): Distance between neighbouring sub-images in HR pixels.
        thresh (int): At the right and bottom border one more sub-image, flush with the border, is cut if more than this
            many pixels would be left over. Default: 0.
    """

    size: int
    step: int
    thresh: int = 0


def starts(length: int, window: Window) -> list[int]:
    """Where the windows begin along one axis.

    Args:
        length (int): Size of the image along the axis, in pixels.
        window (Window): The cut.

    Returns:
        list[int]: Ascending offsets; ``[0]`` if the image is not larger than a window.
    """
    if length <= window.size:
        return [0]
    offsets = list(range(0, length - window.size + 1, window.step))
    if length - (offsets[-1] + window.size) > window.thresh:
        offsets.append(length - window.size)
    return offsets


def cut_pair(hr: np.ndarray, lr: np.ndarray, scale: int, window: Window) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut an HR image and its LR image at the same places, row by row.

    An image smaller than the window along an axis is kept whole along that axis.

    Args:
        hr (np.ndarray): (scale * h, scale * w, c).
        lr (np.ndarray): (h, w, c).
        scale (int): Divides ``window.size`` and ``window.step``.
        window (Window): The cut, in HR pixels.

    Returns:
        list[tuple[np.ndarray, np.ndarray]]: Views (HR sub-image, LR sub-image).
    """
    pieces = []
    small = window.size // scale
    for top in starts(hr.shape[0], window):
        for left in starts(hr.shape[1], window):
            low_top, low_left = top // scale, left // scale
            pieces.append(
                (
                    hr[top : top + window.size, left : left + window.size],
                    lr[low_top : low_top + small, low_left : low_left + small],
                )
            )
    return pieces
