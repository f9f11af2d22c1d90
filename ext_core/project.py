"""Where the files are that come with the packages, and how this process was called.

``options/``, ``generators/`` and ``scripts/`` lie beside the packages in a clone; in a wheel, setup.py puts them into
``ext_core/shipped``.
"""

import re
import sys
from pathlib import Path

CONSOLE = 'basicsr-ext'
OURS = f'{CONSOLE}://'  # begins the name of a recipe that comes with the packages
_SHIPPED = Path(__file__).with_name('shipped')
INSTALLED = _SHIPPED.is_dir()  # from a wheel; not a clone
PROJECT = _SHIPPED if INSTALLED else Path(__file__).resolve().parents[1]
OPTIONS = PROJECT / 'options'
SCRIPTS = PROJECT / 'scripts'
_COMMAND = re.compile(r'(?:python |(?<![\w/]))(?:scripts|basicsr)/(\w+)\.py')


def file_of(text: str, folder: Path = Path()) -> Path:
    """The option file that a name on the command line or in another one means: a path, relative to ``folder``, or
    ``basicsr-ext://NAME.yml`` for a recipe of this package."""
    return OPTIONS / text.removeprefix(OURS) if text.startswith(OURS) else folder / text


def by_console() -> bool:
    """Whether ``basicsr-ext`` started this process: then results go into the present folder, not into the clone."""
    return sys.argv[0].startswith(f'{CONSOLE} ')


def as_called(text: str) -> str:
    """A text in which commands have the form that the user takes.

    ``python scripts/upscale.py`` becomes ``basicsr-ext upscale`` where :func:`by_console`.
    """
    if not by_console():
        return text
    return _COMMAND.sub(lambda found: f'{CONSOLE} {found[1].replace("_", "-")}', text)
