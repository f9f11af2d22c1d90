"""Put the plugin's components into BasicSR's registries."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# our packages, and how the files end that are imported, as BasicSR's own folders have it
PACKAGES = {
    'ext_arch': '_arch',
    'ext_losses': '_loss',
    'ext_data': '_dataset',
    'ext_metrics': '_metric',
    'ext_models': '_model',
}


def register_all() -> None:
    """Make BasicSR importable on the present stack, then register our networks, losses, datasets, metrics and models.

    Idempotent: Python caches the packages, and ``compat.apply`` remembers what it did.
    """
    from ext_core import compat

    packages = [importlib.import_module(name) for name in PACKAGES]  # while our folder can be found
    with _without_namespace_folder():
        compat.apply()
    for package in packages:
        for path in sorted(Path(str(package.__file__)).parent.glob(f'*{PACKAGES[package.__name__]}.py')):
            importlib.import_module(f'{package.__name__}.{path.stem}')


def register_quietly() -> None:
    """:func:`register_all` for a script, which does not show what BasicSR says of each network that is built."""
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')


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
