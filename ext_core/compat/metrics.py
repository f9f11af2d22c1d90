"""Patch for NIQE on images that are too small or too flat for it."""

import functools
import importlib
import warnings
from typing import Any

import numpy as np
from basicsr.utils import get_root_logger

from ext_core.compat.patch import Patch, lacks

# calculate_niqe looks niqe up in its module, so that replacing this one name serves the registry and every import
_module: Any = importlib.import_module('basicsr.metrics.niqe')
_MIN_BLOCKS = 2  # a covariance needs two samples


def _cure() -> None:
    stock = _module.niqe

    @functools.wraps(stock)
    def niqe(
        img: np.ndarray, *params: np.ndarray, block_size_h: int = 96, block_size_w: int = 96, **kwargs: Any
    ) -> float:
        height, width = img.shape
        if (height // block_size_h) * (width // block_size_w) < _MIN_BLOCKS:
            return _undefined(f'{height} x {width} pixels hold less than two blocks of {block_size_h} x {block_size_w}')
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', RuntimeWarning)  # of flat blocks, which the method leaves out
                return stock(img, *params, block_size_h=block_size_h, block_size_w=block_size_w, **kwargs)
        except np.linalg.LinAlgError:
            return _undefined('less than two blocks have texture')

    _module.niqe = niqe


def _undefined(reason: str) -> float:
    get_root_logger().warning(f'calculate_niqe: nan, {reason}.')
    return float('nan')


PATCHES = [
    Patch(
        'niqe',
        "NIQE ends the training on images that are small or flat: 'SVD did not converge', 'min(): Expected reduction'",
        lambda: lacks(_module.niqe, 'LinAlgError'),
        _cure,
    ),
]
