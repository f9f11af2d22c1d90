"""Where in an image to look closely, and the piece as part of an HTML page or of a picture."""

import base64
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

_TILE = 2.3  # inches of an image of a gallery


def strongest_window(weight: np.ndarray, size: int) -> tuple[int, int]:
    """Top and left of the square of ``size`` pixels whose weights, (h, w) and not negative, have the greatest sum."""
    table = cv2.integral(weight.astype(np.float32))
    sums = table[size:, size:] - table[size:, :-size] - table[:-size, size:] + table[:-size, :-size]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left)


def detail(image: np.ndarray) -> np.ndarray:
    """How much detail is at each pixel of a uint8 BGR image: the size of its Laplacian."""
    return np.abs(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.CV_32F))


def png_data_uri(image: np.ndarray) -> str:
    """A uint8 BGR image (h, w, 3) as the address of a PNG that holds it."""
    return 'data:image/png;base64,' + base64.b64encode(cv2.imencode('.png', image)[1].tobytes()).decode()


def gallery(blocks: Sequence[tuple[str, Mapping[str, np.ndarray]]], columns: int = 7) -> Any:
    """Images side by side as a figure of matplotlib, for ``savefig``.

    Args:
        blocks (Sequence[tuple[str, Mapping[str, np.ndarray]]]): At least one, below one another: title, and by their
            captions images, uint8 BGR (h, w, 3).
        columns (int): Most images in a row; the others follow below, in rows of about equal length. Default: 7.
    """
    from matplotlib.figure import Figure

    most = max(len(images) for _, images in blocks)
    columns = math.ceil(most / math.ceil(most / columns))
    lines = [math.ceil(len(images) / columns) for _, images in blocks]
    size = (_TILE * columns, (_TILE + 0.3) * sum(lines) + 0.3 * sum(title != '' for title, _ in blocks))
    figure = Figure(figsize=size, layout='constrained')
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=lines)[:, 0]
    for part, (title, images), rows in zip(parts, blocks, lines, strict=True):
        if title:
            part.suptitle(title, fontsize=10)
        axes = part.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, (caption, image) in zip(axes, images.items(), strict=False):
            axis.imshow(image[..., ::-1], interpolation='nearest')
            lines_of = (wrapped for line in caption.splitlines() for wrapped in textwrap.wrap(line, 34))
            axis.set_title('\n'.join(lines_of), fontsize=8)
    return figure
