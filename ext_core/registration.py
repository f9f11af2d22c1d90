"""Put the plugin's components into BasicSR's registries."""

import importlib
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ext_arch import spandrel_networks
from ext_core.errors import UserError, print_line

# our packages, and how the files end that are imported, as BasicSR's own folders have it
PACKAGES = {
    'ext_arch': '_arch',
    'ext_losses': '_loss',
    'ext_data': '_dataset',
    'ext_metrics': '_metric',
    'ext_models': '_model',
}


def register_all() -> None:
    """Make BasicSR importable on the present stack, then register our networks, losses, datasets, metrics and models,
    and spandrel's networks where it is installed.

    Idempotent: Python caches the packages, and ``compat.apply`` remembers what it did.
    """
    from ext_core import compat

    packages = [importlib.import_module(name) for name in PACKAGES]  # while our folder can be found
    with _without_namespace_folder():
        compat.apply()
    for package in packages:
        for path in sorted(Path(str(package.__file__)).parent.glob(f'*{PACKAGES[package.__name__]}.py')):
            importlib.import_module(f'{package.__name__}.{path.stem}')
    spandrel_networks.register()


def restored(data: bytes) -> Any:
    """In a worker that was not forked: an object from its pickled class and attributes, which may need BasicSR."""
    register_all()
    kind, attributes = pickle.loads(data)
    made = kind.__new__(kind)
    vars(made).update(attributes)
    return made


def register_quietly() -> None:
    """:func:`register_all` for a script, which does not show what BasicSR says of each network that is built."""
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')


def import_modules(names: Sequence[str], asked: str, allow_failed: bool = False) -> None:
    """Import modules, ``package.module``, that register a user's own classes; also from the current folder.

    Raises:
        UserError: If a module cannot be imported, whatever it raises; with ``allow_failed`` that is a warning. Messages
            begin with what ``asked`` for it.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # at the end: nothing there takes the place of an installed package
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            text = (
                f"{asked}: the module '{name}' cannot be imported: {type(error).__name__}: {error}. Write it as Python "
                'imports it, package.module, from the current folder or from one in PYTHONPATH.'
            )
            if not allow_failed:
                raise UserError(text) from error
            print_line(f'warning: {text}')


@contextmanager
def _without_namespace_folder() -> Iterator[None]:
    """Hide our folder ``basicsr/`` of launch scripts, which would win over an *editable* install of the toolbox."""
    saved = sys.path[:]
    sys.path[:] = [
        entry
        for entry in saved
        if not (Path(entry or '.') / 'basicsr').is_dir() or (Path(entry or '.') / 'basicsr' / '__init__.py').is_file()
    ]
    try:
        yield
    finally:
        sys.path[:] = saved
