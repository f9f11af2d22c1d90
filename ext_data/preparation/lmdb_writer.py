"""LMDBs in BasicSR's form: ``data.mdb``, ``lock.mdb`` and ``meta_info.txt`` with lines ``name.png (h,w,c) level``."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from ext_data.preparation.images import PNG_COMPRESSION, writing

PAGE = 4096
COMMIT_EVERY = 1000  # images per transaction; bounds the dirty pages held in memory


@dataclass(frozen=True)
class Entry:
    """One image of an LMDB.

    Args:
        path (Path): A PNG whose stem is the key. It is stored byte for byte.
        height (int): Rows in pixels.
        width (int): Columns in pixels.
    """

    path: Path
    height: int
    width: int


def map_size(sizes: Sequence[int]) -> int:
    """A ceiling for the size of the LMDB, from the real sizes of the values.

    Every value takes whole pages (header included); twice that, plus 64 MiB, leaves room for the tree and for copied
    pages. The file grows only as far as needed, so a generous ceiling costs nothing.

    Args:
        sizes (Sequence[int]): Bytes of every encoded image.

    Returns:
        int: Bytes, for ``lmdb.open(map_size=...)``.
    """
    return 2 * PAGE * sum(-(-size // PAGE) + 2 for size in sizes) + 2**26


def meta_info(entries: Sequence[Entry]) -> str:
    """Text of ``meta_info.txt``: one line per image, as BasicSR's datasets read it."""
    return ''.join(f'{e.path.stem}.png ({e.height},{e.width},3) {PNG_COMPRESSION}\n' for e in entries)


def is_current(target: Path, entries: Sequence[Entry]) -> bool:
    """Whether the LMDB exists, lists exactly these images, and none of them was written after it."""
    listing = target / 'meta_info.txt'
    if not listing.is_file() or listing.read_text(encoding='ascii') != meta_info(entries):
        return False
    built = listing.stat().st_mtime_ns
    return all(entry.path.stat().st_mtime_ns <= built for entry in entries)


def write_lmdb(target: Path, entries: Sequence[Entry], on_image: Callable[[], object] = lambda: None) -> None:
    """Pack PNG files into an LMDB, in a hidden folder beside the target that is renamed when complete.

    Args:
        target (Path): Folder to make, ending in ``.lmdb``; an older one of the same name is replaced.
        entries (Sequence[Entry]): The images, keys unique and ASCII.
        on_image (Callable): Called after each image, for a progress bar.

    Raises:
        OSError: If it cannot be written, the disk being full for instance. The older one stays.
    """
    building = target.with_name(f'.{target.name}.part')
    shutil.rmtree(building, ignore_errors=True)
    try:
        with writing(target):
            building.mkdir(parents=True)
            ceiling = map_size([entry.path.stat().st_size for entry in entries])
            with lmdb.open(str(building), map_size=ceiling) as env:
                for first in range(0, len(entries), COMMIT_EVERY):
                    with env.begin(write=True) as transaction:
                        for entry in entries[first : first + COMMIT_EVERY]:
                            transaction.put(entry.path.stem.encode('ascii'), entry.path.read_bytes())
                            on_image()
            (building / 'meta_info.txt').write_text(meta_info(entries), encoding='ascii')
    except OSError:
        shutil.rmtree(building, ignore_errors=True)  # it may be what fills the disk
        raise
    if target.exists():
        old = target.with_name(f'.{target.name}.old')
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
        os.rename(building, target)
        shutil.rmtree(old)
    else:
        os.rename(building, target)
