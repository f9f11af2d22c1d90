"""BasicSR 1.4.2 on the present stack: one named patch per cause, applied in memory.

They cover what our recipes, BasicSR's SR models and its Real-ESRGAN models need. BasicSR's release is pinned, so its
own faults are patched without a question, those of other libraries only where the symptom is there. What the launcher
does itself (options, resuming, seeding) is not patched; docs/compatibility.md lists every symptom with its cure.

The patches of ``imports`` come first: without them ``import basicsr`` fails. The other modules import BasicSR at their
top, so they are imported only after that.
"""

import importlib
import importlib.util

from ext_core.compat import imports
from ext_core.compat.patch import PATCHES, Patch
from ext_core.errors import UserError
from ext_core.install_basicsr import VERSION

__all__ = ['Patch', 'apply', 'import_basicsr', 'patches']

INSTALL = (
    'python -m ext_core install-basicsr. It runs pip, which alone would download another PyTorch to build BasicSR, and '
    'from Python 3.13 on would fail'
)

_MODULES = ('distribution', 'models', 'validation', 'data', 'lmdb_backend')


def import_basicsr() -> None:
    """Apply the import patches and import BasicSR.

    Raises:
        UserError: If BasicSR is not installed, or another release than 1.4.2 is.
    """
    found = importlib.util.find_spec('basicsr')
    if found is None:  # asked first: what else is missing comes with BasicSR
        raise UserError(f'BasicSR is not installed. Install it with: {INSTALL}.')
    if found.origin is None:  # Python takes the project's folder basicsr/, which has no __init__.py, for the package
        raise UserError(
            f"BasicSR is not installed, only the project's own folder basicsr/ was found. Install it with: {INSTALL}."
        )
    with imports.postponed():
        for patch in imports.PATCHES:
            patch.apply()
        basicsr = importlib.import_module('basicsr')
    if basicsr.__version__ != VERSION:
        raise UserError(f'BasicSR {basicsr.__version__} is installed, {VERSION} is needed: {INSTALL}.')


def patches() -> list[Patch]:
    """All patches in the order of their application. Imports BasicSR, for which the import patches are applied."""
    import_basicsr()
    for name in _MODULES:
        importlib.import_module(f'{__name__}.{name}')
    return PATCHES


def apply() -> None:
    """Apply every patch that is needed. Idempotent; to be called before anything imports BasicSR.

    Raises:
        UserError: If BasicSR or torchvision is not installed, or BasicSR's release is another than 1.4.2.
    """
    for patch in patches():
        patch.apply()
