"""A pool of HR images, of folders or LMDBs: what datasets of HR images alone have in common."""

import random
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch.utils.data import Dataset

from ext_data.decoding import decode
from ext_data.roots import RootOptions, Roots, repeated


class HRPool(Dataset):
    """Base of datasets that read ``dataroot_gt`` and nothing else. Subclasses define ``__getitem__``.

    Args:
        opt (dict): Section of the option file, with the keys of ``Options``, and ``phase``, which BasicSR adds.

    Raises:
        ValueError, OSError: If there are no images, or not as many weights as folders.
    """

    @dataclass(kw_only=True)
    class Options(RootOptions):
        """Keys of the section."""

        dataroot_gt: Annotated[str | list[str], 'HR images: a folder or LMDB, or a list of them.']

    POOLS = ('dataroot_gt',)  # folders or LMDBs of images whose headers are looked at before the run

    def __init__(self, opt: dict):
        self.opt = opt
        self.images = Roots(opt, 'dataroot_gt')
        self.paths: list[str] = repeated(self.images.paths('dataroot_gt'), opt.get('dataroot_weights'))

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, path: str) -> np.ndarray:
        """uint8 BGR (h, w, 3) of one of ``paths``.

        Raises:
            ValueError: If it does not decode; see :func:`ext_data.decoding.decode`.
        """
        return decode(self.images.get(path), path)


def random_corner(image: np.ndarray, size: int, path: str, step: int = 1) -> tuple[int, int]:
    """Top and left of a square crop, multiples of a step, drawn from Python's global generator.

    Raises:
        ValueError: If the image is smaller than the crop.
    """
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise ValueError(
            f'{path} is {width} x {height} (width x height), smaller than the crop of {size}. Remove it, or lower '
            'gt_size.'
        )
    return step * random.randint(0, (height - size) // step), step * random.randint(0, (width - size) // step)
