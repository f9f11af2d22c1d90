"""Reading, reducing, cutting and writing images: (h, w, 3) uint8 in BGR order, as OpenCV and BasicSR have them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import lmdb
import numpy as np
from basicsr.utils.matlab_functions import imresize

from ext_data.decoding import decode_with_header, read_bytes
from ext_data.preparation.layouts import Window

PNG_COMPRESSION = 1  # what BasicSR's LMDB maker uses: training reads often, disk is cheap


def read_image(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read an image as 8-bit colour, see :func:`ext_data.decoding.decode`, and say what had to be changed.

    Args:
        path (Path): Any format that OpenCV decodes.

    Returns:
        tuple[np.ndarray, list[str]]: The image, (h, w, 3), uint8, BGR; and the changes made, each in a few words.

    Raises:
        ImageError: If the file cannot be read or decoded, or holds neither 8-bit nor 16-bit integers.
    """
    image, header, deep = decode_with_header(read_bytes(path), str(path))
    changes = {
        '16-bit reduced to 8-bit': deep,
        'grey repeated to three channels': header and header.grey,
        'alpha channel dropped': header and header.alpha,
        'CMYK converted without its colour profile': header and header.cmyk,
        'turned as its EXIF says': header and header.turned,
    }
    return image, [note for note, made in changes.items() if made]


def bicubic_down(image: np.ndarray, scale: int, blur: float = 0.0) -> np.ndarray:
    """Reduce by an integer factor with MATLAB's antialiased bicubic ``imresize``, as BasicSR implements it.

    Args:
        image (np.ndarray): (h, w, 3), uint8; h and w divide by ``scale``.
        scale (int): Factor, at least 2.
        blur (float): Standard deviation, in pixels of ``image``, of a Gaussian blur before the reduction; 0 is none.
            Default: 0.0.

    Returns:
        np.ndarray: (h / scale, w / scale, 3), uint8, rounded to the nearest level, once.
    """
    real: np.ndarray = image.astype(np.float32) / 255.0
    if blur:  # the border as imresize continues it: mirrored, with the edge pixel repeated
        real = cv2.GaussianBlur(real, (0, 0), blur, borderType=cv2.BORDER_REFLECT)
    small = imresize(real, 1 / scale)
    return np.round(np.clip(small, 0, 1) * 255.0).astype(np.uint8)


# ---------------------------------------------------------------------- sub-images
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


# ---------------------------------------------------------------------- writing
def write_png(path: Path, image: np.ndarray) -> None:
    """Write a PNG so that a reader sees either nothing or the whole file.

    Args:
        path (Path): Target, ending in ``.png``; its folder exists.
        image (np.ndarray): (h, w, 3), uint8, BGR.
    """
    _, data = cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])
    part = path.with_name(f'.{path.name}.part')  # hidden: BasicSR's folder scan skips it
    try:
        with writing(path):
            part.write_bytes(data.tobytes())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes a file or an LMDB.

    Raises:
        OSError: Naming it, the system's reason and the remedy, where it cannot be written.
    """
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise OSError(
            f'{path} could not be written: {error}. Free disk space, make its folder writable or choose another one, '
            'and run the same command again: what is finished is kept.'
        ) from error
