"""Python as a contributor to BasicSR has it, who never installed our packages. Loaded by being on PYTHONPATH."""

import importlib.abc
import importlib.machinery
import os
import sys

OURS = ('ext_arch', 'ext_core', 'ext_data', 'ext_losses', 'ext_metrics', 'ext_models')
LIBRARIES = []  # torch unregisters the operators of a library that is collected


class OursAreAway(importlib.abc.MetaPathFinder):
    """Refuses our packages, wherever they are installed.

    Where torchvision's compiled part does not fit the build of torch, it declares the operators that torchvision asks
    for while it is imported: that is a matter of the installation, not of BasicSR.
    """

    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in OURS:
            raise ModuleNotFoundError(f'{name} is not installed here', name=name)
        if name == 'torchvision':
            declare_operators()
        return None


def declare_operators():
    import torch
    from torch import library as torch_library

    spec = importlib.machinery.PathFinder.find_spec('torchvision')
    try:
        torch.ops.load_library(os.path.join(os.path.dirname(spec.origin), '_C.so'))
    except OSError:
        LIBRARIES.append(torch_library.Library('torchvision', 'FRAGMENT'))
        for operator in ('nms', 'qnms'):
            LIBRARIES[0].define(f'{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')


sys.meta_path.insert(0, OursAreAway())
