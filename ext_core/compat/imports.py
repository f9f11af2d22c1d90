"""Patches without which ``import basicsr`` fails. They run before BasicSR is imported."""

import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from typing import Any

from ext_core.compat.patch import PATCHES as ALL
from ext_core.compat.patch import cures
from ext_core.errors import UserError

# What torchvision and BasicSR import at their top from modules that take longer to import than themselves.
_POSTPONED = {'torch._dynamo.utils': 'is_compile_supported', 'scipy.stats': 'multivariate_normal'}
_LIBRARIES: list[object] = []  # torch unregisters a Library's operators when it is collected


def _missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:  # its parent package is missing
        return True


def _native_ops_missing() -> bool:
    """True where torchvision's compiled operators do not load into this build of torch."""
    import torch

    if 'torchvision' in sys.modules:
        return False
    package = importlib.util.find_spec('torchvision')  # locates the package without importing it
    if package is None or package.origin is None:
        raise UserError('torchvision is not installed. Install it with: pip install -c constraints.txt torchvision')
    # the name ends otherwise on Windows and in Debian's package
    folder = FileFinder(os.path.dirname(package.origin), (ExtensionFileLoader, EXTENSION_SUFFIXES))
    operators = folder.find_spec('_C_stable') or folder.find_spec('_C')  # since torchvision 0.29, and before
    if operators is None or operators.origin is None:
        return True
    try:
        torch.ops.load_library(operators.origin)
    except (OSError, ImportError):
        return True
    return False


@cures(
    "import torchvision: 'operator torchvision::nms does not exist' where its compiled operators do not fit the "
    'build of torch',
    _native_ops_missing,
)
def torchvision_ops() -> None:
    from torch import library as torch_library

    library = torch_library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):  # the two that torchvision touches while it is imported
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _LIBRARIES.append(library)


@cures(
    "import basicsr: 'No module named torchvision.transforms.functional_tensor', removed in torchvision 0.17",
    lambda: _missing('torchvision.transforms.functional_tensor'),
)
def functional_tensor() -> None:
    from torchvision.transforms import functional

    _add_module('torchvision.transforms.functional_tensor', rgb_to_grayscale=functional.rgb_to_grayscale)


@cures("import basicsr: 'No module named distutils', removed in Python 3.12", lambda: _missing('distutils'))
def distutils() -> None:
    from packaging.version import Version  # orders '0.28.0+cpu' and '0.9.0', all that BasicSR asks of LooseVersion

    _add_module('distutils')
    _add_module('distutils.version', LooseVersion=Version)


@cures(
    "import basicsr: 'No module named scipy.ndimage.filters', deprecated and due to go in SciPy 2.0",
    lambda: _missing('scipy.ndimage.filters'),
)
def scipy_filters() -> None:
    from scipy import ndimage

    _add_module('scipy.ndimage.filters', convolve=ndimage.convolve)


def _add_module(name: str, **contents: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module


PATCHES = [*ALL]  # those of this module, which is imported before the others


class _Later:
    """An object of a module that is imported when the object is first used."""

    def __init__(self, module: str, name: str):
        self._module, self._name = module, name

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(importlib.import_module(self._module), self._name), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(self._module), self._name)(*args, **kwargs)


class _Stand(types.ModuleType):
    """In the place of a module, until the ``with`` block ends; whoever wants more of it gets the module itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):  # inspect looks for __file__ of every module
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def postponed() -> Iterator[None]:
    """Inside, torchvision and BasicSR are imported without two slow modules of which they need one function each.

    It halves the time to the first message: an error in an option file, ``--help`` of whatever registers components.
    """
    for module, name in _POSTPONED.items():
        if module not in sys.modules:
            stand = sys.modules[module] = _Stand(module)
            vars(stand)[name] = _Later(module, name)
    try:
        yield
    finally:
        for module in _POSTPONED:
            if isinstance(sys.modules.get(module), _Stand):
                del sys.modules[module]
