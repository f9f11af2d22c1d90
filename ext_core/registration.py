"""Put the plugin's components into BasicSR's registries."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ('ext_arch', 'ext_losses', 'ext_data', 'ext_metrics', 'ext_models')


def register_all() -> None:
    """Make BasicSR importable on the present stack, then register our networks, losses, datasets, metrics and models.

    Idempotent: Python caches the packages, and ``compat.apply`` remembers what it did.
    """
    from ext_core import compat

    with _without_namespace_folder():
        compat.apply()
    for package in PACKAGES:
        importlib.import_module(package)


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
