"""The HR images of a folder or an LMDB: names, sizes, and pixels as BasicSR's datasets decode them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ext_core.errors import UserError
from ext_core.options import image_files as images
from ext_data.decoding import decode, read_bytes
from ext_data.preparation.pairs import find_images, match_pairs


@dataclass(frozen=True)
class Picture:
    """One HR image."""

    key: str  # name of its outputs, and its key in an LMDB
    place: Path  # the file, or the LMDB's folder
    size: tuple[int, int] | None  # (width, height) from its header, None where that cannot be read
    changed: int  # time of change in nanoseconds, of the file or of the whole LMDB

    @property
    def name(self) -> str:
        """For messages."""
        return f'{self.key} in {self.place}' if self.place.is_dir() else str(self.place)


def pictures_of(root: Path) -> list[Picture]:
    """All images of a folder or an LMDB, sorted by key.

    Raises:
        UserError: If there are none, the LMDB is damaged, or two files would get the same key.
    """
    if (root / 'data.mdb').is_file() or root.suffix == '.lmdb':
        damage = images.lmdb_damage(root)
        if damage:
            raise UserError(damage)
        changed, sizes = (root / 'data.mdb').stat().st_mtime_ns, images.lmdb_sizes(root)
        # outputs are named after the keys, and must not land elsewhere
        bad = next((key for key in sizes if any(character in key for character in '/\\\n\r')), None)
        if bad is not None:
            raise UserError(
                f"{root}: the key '{bad}' in its meta_info.txt is a path, but files are named after keys. Use plain "
                'names.'
            )
        return [Picture(key, root, size, changed) for key, size in sorted(sizes.items())]
    if not root.is_dir():
        raise UserError(f'{root}: there is no such folder.')
    found = match_pairs(find_images(root, '{name}', 1), {}, 1)
    if not found:
        raise UserError(f'{root} holds no images. Name a folder of images, or an LMDB.')
    return [Picture(pair.key, pair.hr, images.file_size(pair.hr), pair.hr.stat().st_mtime_ns) for pair in found]


def read_picture(picture: Picture) -> np.ndarray:
    """uint8 BGR (h, w, 3), decoded as BasicSR's datasets do.

    Raises:
        ImageError: If it does not decode.
    """
    if picture.place.is_dir():
        (content,) = images.lmdb_values(picture.place, [picture.key])
    else:
        content = read_bytes(picture.place)
    return decode(content or b'', picture.name)
