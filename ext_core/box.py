"""The trained generators that come with this project: ``generators/``."""

import os
from pathlib import Path

from ext_core.project import PROJECT

BOX = PROJECT / 'generators'
DEFAULT = 'photo_x4'


def generators() -> dict[str, Path]:
    """Name to file."""
    return {path.stem: path for path in sorted(BOX.glob('*.safetensors'))}


def from_box(name: str | Path) -> Path:
    """The file of a generator of the box; other paths as they are, and a file or folder of that name first."""
    return Path(name) if os.path.exists(name) else generators().get(str(name), Path(name))
