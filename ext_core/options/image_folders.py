"""The folders and LMDBs that a dataset's section names: what is wrong with them, and which images they hold."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ext_core.errors import UserError
from ext_core.options import image_files
from ext_core.options.problems import did_you_mean, examples, section
from ext_data.decoding import IMAGE_SUFFIXES
from ext_data.roots import roots_of

LOOKED_AT = 200  # images of a set whose headers are read, evenly spaced


class Image(NamedTuple):
    """A stored image: how messages call it, and its file or content."""

    name: str
    source: Path | bytes


def nearby(path: Path) -> str:
    """For a path that does not exist: a similar name beside it, or where relative paths start."""
    if '\\' in str(path) and os.sep == '/':
        return ' Its back slashes are those of Windows: write / instead.'
    if path.parent.is_dir():
        hint = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
        if hint:
            return hint
    return '' if path.is_absolute() else f' Relative paths start at {Path.cwd()}.'


def list_fault(path: Path) -> str | None:
    """What BasicSR would take for a part of a name, or for a name."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return f'{path} cannot be read: {error}. Save it as a text file in UTF-8.'
    if lines and lines[0].startswith('\ufeff'):
        return f'{path} begins with a byte order mark, which would belong to its first name. Save it as UTF-8 without.'
    blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if blank and len(blank) < len(lines):
        return f'{path} has no name in line {blank[0]}. Remove lines that are empty.'
    return None


class Root(NamedTuple):
    """A folder or LMDB of images, as a dataset reads it."""

    path: Path
    is_lmdb: bool
    subfolders: bool

    def names(self, meta: str | None = None) -> list[str]:
        """Keys of an LMDB, names of a folder's files, or those in a meta info file: what stands before the first
        space."""
        if self.is_lmdb:
            return sorted(image_files.lmdb_sizes(self.path))
        if meta is None:
            return image_files.folder_names(self.path, self.subfolders)
        return [line.split(' ')[0] for line in Path(meta).read_text(encoding='utf-8').splitlines() if line.strip()]

    def images(self, names: Sequence[str]) -> list[Image]:
        if self.is_lmdb:
            values = image_files.lmdb_values(self.path, names)
            return [Image(f'{name} in {self.path}', value) for name, value in zip(names, values, strict=True)]
        return [Image(str(self.path / name), self.path / name) for name in names]

    def sizes(self) -> list[image_files.Size]:
        """(width, height) of all images, from their headers."""
        if self.is_lmdb:
            sizes = list(image_files.lmdb_sizes(self.path).values())
        else:
            sizes = [image_files.file_size(self.path / name) for name in self.names()]
        return [size for size in sizes if size]


def roots(data_opt: dict, key: str) -> list[Root]:
    """The folders or LMDBs that a key of a dataset's section names."""
    is_lmdb, deep = section(data_opt, 'io_backend').get('type') == 'lmdb', bool(data_opt.get('subfolders'))
    return [Root(Path(root), is_lmdb, deep) for root in roots_of(data_opt.get(key) or [])]


def spread(names: Sequence) -> list:
    """At most LOOKED_AT, evenly spaced."""
    return list(names[:: max(1, math.ceil(len(names) / LOOKED_AT))])


def root_fault(root: Root, is_listed: bool) -> str | None:
    """What is wrong with a folder or LMDB of images, or None. A folder that ``is_listed`` holds nothing but images."""
    path = root.path
    if not path.exists():
        return f'folder not found: {path}.{nearby(path)} Correct the path, or prepare the data (docs/data.md).'
    if not path.is_dir():
        return f'{path} is a file. Name the folder that holds the images.'
    if (path / 'data.mdb').is_file():
        if not root.is_lmdb:
            return f'{path} is an LMDB. Set io_backend:type: lmdb.'
        if not path.name.endswith('.lmdb'):
            return f'BasicSR reads LMDB folders whose name ends in .lmdb only, but this is {path}. Rename it.'
        return image_files.lmdb_damage(path)
    if not root.is_lmdb and not is_listed:
        return None if any(path.iterdir()) else f'{path} is empty. Put images there, or correct the path.'
    try:
        names = image_files.folder_names(path, root.subfolders)
    except UserError as error:
        return str(error)
    strange = [name for name in names if Path(name).suffix.lower() not in IMAGE_SUFFIXES]
    if root.is_lmdb:
        images = len(strange) < len(names)
        fault = f'{path} is a folder of images, not an LMDB. Set io_backend:type: disk.' if images else None
        return fault or image_files.lmdb_damage(path)
    if len(strange) == len(names):
        inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith('.'))
        hint = (
            f' Subfolders are not searched; did you mean {path / inside[0]}?' if inside and not root.subfolders else ''
        )
        return f'no images in {path}.{hint} Put images there, or correct the path.'
    if strange:
        return f'{examples(strange)} in {path}: not image files, but every file of the folder is read. Move them away.'
    return None
