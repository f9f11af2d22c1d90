"""What can be learnt about stored images without decoding them all."""

import os
import re
import warnings
from pathlib import Path

from PIL import Image

from ext_core.errors import UserError

Size = tuple[int, int]
IMAGE_SUFFIXES = frozenset(
    {
        '.png',
        '.jpg',
        '.jpeg',
        '.jpe',
        '.bmp',
        '.dib',
        '.tif',
        '.tiff',
        '.webp',
        '.ppm',
        '.pgm',
        '.pbm',
        '.pnm',
        '.jp2',
        '.exr',
        '.hdr',
        '.gif',
        '.avif',
    }
)
_PILLOW_SUFFIXES = frozenset({'.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp'})
_META_LINE = re.compile(r'.*\((\d+),\s*(\d+)(?:,\s*\d+)?\)')
_EXIF_ORIENTATION = 0x0112


def folder_names(root: Path) -> list[str]:
    """Names of a folder's own files, sorted, without hidden ones: what BasicSR's ``scandir`` finds."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith('.'))


def file_size(path: Path) -> Size | None:
    """(width, height) as OpenCV decodes the file, so after EXIF rotation; None where the header cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of images that are merely large
            with Image.open(path) as image:
                turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
                return (image.height, image.width) if turned else image.size
    except Exception:  # Pillow raises many kinds; whichever it is, the size is unknown
        return None


def file_damage(path: Path) -> str | None:
    """Why an image cannot be used, or None. PNG: all checksums; others are decoded; formats unknown to Pillow pass."""
    if path.suffix.lower() not in _PILLOW_SUFFIXES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with Image.open(path) as image:
                if image.format == 'PNG':
                    image.verify()
                else:
                    image.load()
    except Image.DecompressionBombError:
        return None  # very large, which is not damaged
    except Exception as error:
        return str(error) or type(error).__name__
    return None


def lmdb_sizes(root: Path) -> dict[str, Size | None]:
    """Key to (width, height) from ``meta_info.txt``, whose lines are ``name.png (height,width,channels) level``."""
    sizes: dict[str, Size | None] = {}
    for line in (root / 'meta_info.txt').read_text(encoding='utf-8').splitlines():
        if line.strip():
            shape = _META_LINE.match(line)
            sizes[line.split('.')[0]] = (int(shape[2]), int(shape[1])) if shape else None
    return sizes


def lmdb_damage(root: Path) -> str | None:
    """Why an LMDB folder cannot be used, with the remedy, or None."""
    from ext_core.compat.lmdb_backend import shared_environment

    for name in ('data.mdb', 'meta_info.txt'):
        if not (root / name).is_file():
            return f'{root} has no {name}, so it is no LMDB that BasicSR can read. Write it anew from the images.'
    wanted = set(lmdb_sizes(root))
    if not wanted:
        return f'{root / "meta_info.txt"} lists no images. Write the LMDB anew from the images.'
    try:
        environment = shared_environment(str(root), readonly=True, lock=False, readahead=False)
    except UserError as error:
        return str(error)
    with environment.begin() as transaction:
        stored = {bytes(key).decode() for key in transaction.cursor().iternext(values=False)}
    missing = sorted(wanted - stored)
    if missing:
        return (
            f'{root} lacks {len(missing)} of the images that its meta_info.txt lists, such as {missing[0]}. '
            'Write the LMDB anew from the images.'
        )
    return None
