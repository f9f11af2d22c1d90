"""What can be learnt about stored images without decoding them all."""

import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
from PIL import Image

from ext_core.errors import UserError
from ext_data.decoding import ImageError, Size, decode, read_bytes, read_header
from ext_data.roots import names_in

_PNG = b'\x89PNG\r\n\x1a\n'
_META_LINE = re.compile(r'.*\((\d+),\s*(\d+)(?:,\s*\d+)?\)')


def folder_names(root: Path, subfolders: bool = False) -> list[str]:
    """Names of a folder's files, sorted, without hidden ones: what BasicSR's ``scandir`` finds; ours with subfolders.

    Raises:
        UserError: If the folder cannot be listed, or holds a link that leads to itself, at which ``scandir`` stumbles.
    """
    try:
        if subfolders:
            return names_in(str(root), is_lmdb=False, subfolders=True)
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith('.') and entry.is_file())
    except OSError as error:
        remedy = 'Remove it from the folder, or change its permissions.'
        raise UserError(f'{error.filename or root} cannot be read: {error.strerror}. {remedy}') from error


def look(source: Path | bytes) -> tuple[Size | None, str | None]:
    """What the header of a file, or of its content, says.

    Returns:
        tuple[Size | None, str | None]: (width, height) as it decodes, so after EXIF rotation, None where the header
        cannot be read; and why it cannot be an image that a run can use, or None.
    """
    try:
        header = read_header(source, 'it')
    except ImageError as error:
        return None, str(error)
    if header is None and (isinstance(source, bytes) or not cv2.haveImageReader(str(source))):
        return None, 'it is not an image'
    return (header.size if header else None), None


def file_size(path: Path) -> Size | None:
    """(width, height) as the file decodes, so after EXIF rotation; None where the header cannot be read."""
    return look(path)[0]


def damage(source: Path | bytes) -> str | None:
    """Why a file, or its content, cannot be used, or None. PNG: all checksums; others are decoded."""
    reason = look(source)[1]
    if reason:
        return reason
    try:
        content = source if isinstance(source, bytes) else read_bytes(source)
        if not content.startswith(_PNG):
            decode(content, 'it')
            return None
        with Image.open(io.BytesIO(content), formats=['PNG']) as image:
            image.verify()
    except Exception as error:  # Pillow raises many kinds
        return str(error) or type(error).__name__
    return None


def lmdb_sizes(root: Path) -> dict[str, Size | None]:
    """Key to (width, height) from ``meta_info.txt``, whose lines are ``name.png (height,width,channels) level``."""
    sizes: dict[str, Size | None] = {}
    for line in (root / 'meta_info.txt').read_text(encoding='utf-8', errors='replace').splitlines():
        if line.strip():
            shape = _META_LINE.match(line)
            sizes[line.split('.')[0]] = (int(shape[2]), int(shape[1])) if shape else None
    return sizes


def lmdb_damage(root: Path) -> str | None:
    """Why an LMDB folder cannot be used, with the remedy, or None."""
    import lmdb

    for name in ('data.mdb', 'meta_info.txt'):
        if not (root / name).is_file():
            return f'{root} has no {name}, so it is no LMDB that BasicSR can read. Write it anew from the images.'
    wanted = set(lmdb_sizes(root))
    if not wanted:
        return f'{root / "meta_info.txt"} lists no images. Write the LMDB anew from the images.'
    try:
        with _open(root).begin() as transaction:
            stored = {bytes(key).decode(errors='replace') for key in transaction.cursor().iternext(values=False)}
    except UserError as error:
        return str(error)
    except lmdb.Error as error:
        return f'LMDB {root} is damaged: {error}. Write it anew from the images.'
    missing = sorted(wanted - stored)
    if missing:
        return (
            f"{root} lacks {len(missing)} of the images that its meta_info.txt lists, such as '{missing[0]}'. "
            'Write the LMDB anew from the images.'
        )
    return None


def lmdb_values(root: Path, keys: Iterable[str]) -> Iterator[bytes]:
    """The contents of keys that are there."""
    with _open(root).begin() as transaction:
        for key in keys:
            yield transaction.get(key.encode())


def _open(root: Path) -> Any:
    from ext_core.compat.lmdb_backend import shared_environment

    return shared_environment(str(root), readonly=True, lock=False, readahead=False)
