"""The test sets of a benchmark: which files belong together, and the scale that their sizes say."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from ext_core.errors import UserError
from ext_core.inference.evaluation import Folders, image_pairs

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Place:
    """One image of a test set: its LR and HR file."""

    set_name: str
    scale: int
    low: Path
    gt: Path

    @property
    def name(self) -> str:
        """The file name without its suffix."""
        return self.gt.stem

    @property
    def size(self) -> Size:
        """(width, height) that its result has: scale times LR."""
        width, height = size_of(self.low)
        return self.scale * width, self.scale * height


@dataclass(frozen=True)
class TestSet:
    """Images with a common scale."""

    __test__ = False  # the name is not meant for pytest

    name: str
    scale: int
    places: tuple[Place, ...]


def read_set(name: str, folders: Folders) -> TestSet:
    """The pairs in (HR, LR) folders.

    Raises:
        UserError: If a folder is missing or holds no pairs, a file cannot be read, or sizes do not fit: HR must be
            scale times LR, or up to scale - 1 pixels larger, with the same scale throughout.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f'{name}: there is no folder {folder}. Correct --set.')
    files = image_pairs([folders])
    (low_width, _), (width, _) = (size_of(path) for path in files[0])
    scale = max(1, round(width / low_width))
    for low, gt in files:
        small, large = size_of(low), size_of(gt)
        if not all(0 <= g - scale * n < scale for n, g in zip(small, large, strict=True)):
            raise UserError(
                f'{name}: {gt} is {large[0]} x {large[1]}, which is not {scale} times {low}, {small[0]} x {small[1]} '
                '(width x height). All pairs of a set need one scale: correct the folders, or make the LR images anew.'
            )
    return TestSet(name, scale, tuple(Place(name, scale, low, gt) for low, gt in files))


@cache
def size_of(path: Path) -> Size:
    """(width, height) of a file.

    Raises:
        UserError: If it is no image.
    """
    from ext_core.options.image_files import file_size  # BasicSR comes with it, which must be registered first

    size = file_size(path)
    if size is None:
        raise UserError(f'{path} cannot be read as an image. Replace it, or remove it from the set.')
    return size


@cache
def hash_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    return sha256(path.read_bytes()).hexdigest()
