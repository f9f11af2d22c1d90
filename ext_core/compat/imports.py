"""Patches without which ``import basicsr`` fails. They run before BasicSR is imported."""

import importlib.util
import os
import sys
import types
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder

from ext_core.compat.patch import Patch, cures
from ext_core.errors import UserError

_LIBRARIES: list[object] = []  # torch unregisters a Library's operators when it is collected
PATCHES: list[Patch] = []


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
    folder = os.path.dirname(package.origin)
    # its name ends otherwise on Windows and in Debian's package
    operators = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec('_C')
    if operators is None or operators.origin is None:
        return True
    try:
        torch.ops.load_library(operators.origin)
    except (OSError, ImportError):
        return True
    return False


@cures(
    PATCHES,
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
    PATCHES,
    "import basicsr: 'No module named torchvision.transforms.functional_tensor', removed in torchvision 0.17",
    lambda: _missing('torchvision.transforms.functional_tensor'),
)
def functional_tensor() -> None:
    from torchvision.transforms import functional

    _add_module('torchvision.transforms.functional_tensor', rgb_to_grayscale=functional.rgb_to_grayscale)


@cures(PATCHES, "import basicsr: 'No module named distutils', removed in Python 3.12", lambda: _missing('distutils'))
def distutils() -> None:
    from packaging.version import Version  # orders '0.28.0+cpu' and '0.9.0', all that BasicSR asks of LooseVersion

    _add_module('distutils')
    _add_module('distutils.version', LooseVersion=Version)


@cures(
    PATCHES,
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
