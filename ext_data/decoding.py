"""One decoder for all images: a file means the same in training, in preparation, in evaluation and in the checks.

Whatever decodes, decodes to 8-bit colour. What cannot be that, or is not a whole image, is refused by name.
"""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Size = tuple[int, int]  # width, height
MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 2**26)  # above it Pillow refuses; OpenCV's own limit is 2^30
# how image files are named; a file of such a name that cannot be decoded is refused, not passed over
IMAGE_SUFFIXES = frozenset(
    {'.png', '.jpg', '.jpeg', '.jpe', '.bmp', '.dib', '.tif', '.tiff', '.webp', '.ppm', '.pgm', '.pbm', '.pnm', '.jp2',
     '.exr', '.hdr', '.gif', '.avif'}
)  # fmt: skip
_FORMATS = ('AVIF', 'BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')
_EXIF_ORIENTATION = 0x0112
_TIFF = (b'II*\0', b'MM\0*')
_TIFF_DEPTH, _TIFF_COLOURS, _TIFF_SAMPLES, _TIFF_LAYOUT = 258, 262, 277, 284
_GREY = ('1', 'L', 'LA', 'I', 'I;16', 'I;16B', 'F')
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)  # of images that are merely large


def is_scaled(large: Sequence[int], small: Sequence[int], scale: int, slack: int | None = None) -> bool:
    """Whether each side is ``scale`` times the small one's, or less than ``slack`` longer: by default the scale, since
    BasicSR cuts a ground truth that is no multiple of it when it validates."""
    ahead = [there - scale * here for there, here in zip(large, small, strict=True)]
    return all(0 <= more < (slack or scale) for more in ahead)


class ImageError(ValueError):
    """An image that cannot be used; the message names it and says why, without a full stop."""


@dataclass(frozen=True)
class Header:
    """What the beginning of an image file says of it.

    Args:
        size (tuple[int, int]): (width, height) as it decodes, so after EXIF rotation.
        format (str): As Pillow calls it: 'PNG', 'JPEG', ...
        grey (bool): One channel, and perhaps alpha.
        alpha (bool): Transparency, which is dropped.
        cmyk (bool): Four inks, converted without their colour profile.
        turned (bool): EXIF asks for a rotation or a reflection, which is applied.
    """

    size: Size
    format: str
    grey: bool
    alpha: bool
    cmyk: bool
    turned: bool


def read_header(source: Path | bytes, name: str, formats: tuple[str, ...] = _FORMATS) -> Header | None:
    """Look at an image without decoding it.

    Args:
        source (Path | bytes): The file or its content.
        name (str): How messages call it.
        formats (tuple[str, ...]): Those that count, as Pillow calls them. Default: those that :func:`decode` decodes.

    Returns:
        Header | None: None where Pillow does not know the format, or cannot read this header.

    Raises:
        ImageError: If the file is empty, cannot be opened, claims more than ``MAX_PIXELS`` pixels, or is a TIFF of 16
            bits that OpenCV misreads.
    """
    try:
        if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
            raise ImageError(f'{name} is empty (0 bytes)')
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats) as image:
            if image.format == 'TIFF':
                _refuse_misread(image, name)
            return _header(image)
    except Image.DecompressionBombError:
        raise ImageError(
            f'{name} claims more than {MAX_PIXELS} pixels: a decompression bomb, or too large to be decoded in one '
            'piece; cut it into tiles with another program'
        ) from None
    except UnidentifiedImageError:
        return None
    except OSError as error:
        if error.errno is None:  # Pillow's word for a damaged header
            return None
        raise ImageError(f'{name} cannot be opened: {error.strerror}') from error
    except ImageError:
        raise
    except Exception:  # Pillow raises many kinds at damaged headers; the decoder has the last word
        return None


def _header(image: Image.Image) -> Header:
    exif = Image.Exif()
    exif.load(image.info.get('exif') or b'')  # getexif() would decode a whole PNG in search of it
    orientation = exif.get(_EXIF_ORIENTATION, 1)
    size = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
    alpha = image.mode in ('LA', 'PA', 'RGBA') or 'transparency' in image.info
    turned = orientation in range(2, 9)
    return Header(size, image.format or '', image.mode in _GREY, alpha, image.mode == 'CMYK', turned)


def _refuse_misread(image: Any, name: str) -> None:
    """16-bit TIFFs of which OpenCV makes other pixels without a word."""
    tags = image.tag_v2
    apart = tags.get(_TIFF_SAMPLES, 1) > 1 and tags.get(_TIFF_LAYOUT, 1) == 2
    inverted = tags.get(_TIFF_COLOURS) == 0
    if max(tags.get(_TIFF_DEPTH, (1,))) > 8 and (apart or inverted):
        kind = 'whose channels are stored apart (planar)' if apart else 'in which 0 is white'
        raise ImageError(f'{name} is a TIFF of 16 bits {kind}, which is not read; convert it to PNG')


def decode(content: bytes, name: str = 'the image') -> np.ndarray:
    """Decode an image to 8-bit colour.

    * Grey is repeated to three channels; alpha is dropped, not blended.
    * 16-bit values are divided by 257 and rounded, so that 65535 becomes 255; so does the maximum that a PPM names.
    * A palette is looked up; of an animation it is the first frame.
    * CMYK is converted without its colour profile.
    * The rotation that EXIF asks for is applied.

    Args:
        content (bytes): The whole file.
        name (str): How messages call it. Default: 'the image'.

    Returns:
        np.ndarray: (h, w, 3), uint8, BGR.

    Raises:
        ImageError: If the content is empty, damaged, cut short or no image, holds floating-point values, or claims more
            than ``MAX_PIXELS`` pixels.
    """
    return decode_with_header(content, name)[0]


def decode_with_header(content: bytes, name: str) -> tuple[np.ndarray, Header | None, bool]:
    """See :func:`decode`; also the header, None where Pillow does not know the format, and whether it had 16 bits."""
    header = read_header(content, name)
    if header and header.format in ('JPEG', 'MPO') and _jpeg_is_cut_short(content):
        raise ImageError(f'{name} does not decode: it is a JPEG that was cut short')
    image = _pixels(content, name)
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f'{name} holds {image.dtype} values, whose range is unknown; convert it to an 8 or 16 bit PNG')
    if header and image.shape[1::-1] != header.size:  # for instance EXIF that this release of OpenCV overlooks
        raise ImageError(
            f'{name} decodes as {image.shape[1]} x {image.shape[0]}, but its header says {header.size[0]} x '
            f'{header.size[1]} (width x height); convert it to PNG'
        )
    deep = image.dtype == np.uint16
    if header and header.format == 'PPM':
        image = full_range(image, content)
    elif header and (header.format == 'AVIF' if deep else header.format == 'TIFF' and header.alpha):
        with Image.open(io.BytesIO(content)) as opened:  # OpenCV leaves 10 bits as they are, and multiplies by alpha
            return np.asarray(ImageOps.exif_transpose(opened).convert('RGB'))[..., ::-1].copy(), header, deep
    return (np.round(image / 257.0).astype(np.uint8) if deep else image), header, deep


def full_range(image: np.ndarray, content: bytes) -> np.ndarray:
    """The pixels of a PPM or PGM, which OpenCV leaves as they are, with its maximum as 255 or 65535."""
    magic, *numbers = re.sub(rb'#[^\n]*', b'', content[:4096]).split(maxsplit=4)[:4]
    if magic in (b'P1', b'P4'):  # of black and white, without a maximum
        return image
    return np.round(image * (float(np.iinfo(image.dtype).max) / int(numbers[2]))).astype(image.dtype)


def _pixels(content: bytes, name: str) -> np.ndarray:
    """Colour in the depth of the file; other than uint8 and uint16 in any number of channels."""
    data = np.frombuffer(content, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if image is None and content[:4] in _TIFF:  # OpenCV makes no colour of one channel of floats
            image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f'{name} does not decode: {" ".join(str(error.err or error).split())}') from error
    if image is None or (image.ndim == 2 and image.dtype == np.uint8):
        raise ImageError(f'{name} does not decode: damaged, cut short, or not an image')
    return image


def _jpeg_is_cut_short(content: bytes) -> bool:
    """Whether the end-of-image marker is missing. OpenCV before 5 fills what is missing with grey and says nothing.

    It is looked for behind the header, which may hold a whole thumbnail. In the compressed data 0xFF is followed by 0,
    so that the marker cannot occur there by chance.
    """
    position = 2
    while content[position : position + 1] == b'\xff':
        marker, length = content[position + 1], int.from_bytes(content[position + 2 : position + 4], 'big')
        if marker == 0xDA:  # start of scan
            break
        position += 1 if marker == 0xFF else 2 + length  # 0xFF may be repeated before a marker
        if position + 4 > len(content):
            return True
    return content.find(b'\xff\xd9', position) < 0


def as_float(image: np.ndarray) -> np.ndarray:
    """float32 in [0, 1] of uint8. Of a crop, after cropping: of a whole image it takes a quarter of a sample's time."""
    return image.astype(np.float32) / 255.0


def decode_file(path: Path) -> np.ndarray:
    """:func:`decode` of a file."""
    return decode(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f'{path} cannot be opened: {error.strerror}') from error
