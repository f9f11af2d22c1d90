"""Patch for BasicSR's decoder: the same pixels as everywhere else in the project, and a reason where there are none."""

import numpy as np
from basicsr.utils import img_util

from ext_core.compat.patch import Patch, lacks, rebind
from ext_data.decoding import ImageError, decode, read_header


def _cure() -> None:
    stock = img_util.imfrombytes

    def imfrombytes(content: bytes, flag: str = 'color', float32: bool = False) -> np.ndarray:
        if not isinstance(content, bytes):
            content = bytes(content)
        if flag == 'color':
            image = decode(content)
        else:
            read_header(content, 'the image')
            image = stock(content, flag)
            if image is None:
                raise ImageError('the image does not decode: damaged, cut short, or not an image')
        return image.astype(np.float32) / 255.0 if float32 else image

    rebind(stock, imfrombytes)


PATCHES = [
    Patch(
        'image_decoder',
        "a damaged image is None ('NoneType' object has no attribute 'astype'), an empty one '!buf.empty()'; OpenCV "
        'before 5 fills a JPEG that was cut short with grey; 16 bits are cut off, not rounded',
        lambda: lacks(img_util.imfrombytes, 'decode(content)'),
        _cure,
    ),
]
