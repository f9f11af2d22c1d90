"""All scenarios, and what BasicSR does without our patches.

A scenario is one function per cause: it fails with BasicSR as it is installed and passes with our patches. Tests call
it in the patched process; ``python compat_scenarios.py`` runs all with nothing but the import patches and prints the
outcomes as JSON.
"""

import importlib
import json
import os
import sys

import compat_scenarios_data
import compat_scenarios_resuming
import compat_scenarios_training
import torch
from compat_tools import SCENARIOS, outcome

__all__ = [
    'SCENARIOS',
    'compat_scenarios_data',
    'compat_scenarios_resuming',
    'compat_scenarios_training',
    'patched_names',
]


def _import_afresh(name: str) -> str:
    """Import a package of which nothing or a failed half is loaded."""
    for module in [key for key in sys.modules if key.split('.')[0] == name]:
        del sys.modules[module]
    return outcome(lambda: importlib.import_module(name))


def import_symptoms() -> dict[str, str]:
    """Error of the import that each import patch cures, with the patches before it applied."""
    from ext_core.compat import imports

    removed = {'distutils': ['distutils', 'distutils.version'], 'scipy_filters': ['scipy.ndimage.filters']}
    symptoms = {}
    for patch in imports.PATCHES:
        for module in removed.get(patch.name, []):
            sys.modules[module] = None  # as in the releases that do not have it any more
        package = 'torchvision' if patch.name == 'torchvision_ops' else 'basicsr'
        symptoms[patch.name] = _import_afresh(package)
        if package == 'torchvision' and symptoms[patch.name] != 'passed':
            for module in [key for key in sys.modules if key.split('.')[0] == package]:
                del sys.modules[module]
        patch.apply()
    symptoms['all'] = _import_afresh('basicsr')
    return symptoms


def patched_names() -> list[str]:
    """Attributes of BasicSR's modules and classes, and of torchvision.ops, that our code has put there."""
    import torchvision

    modules = [module for name, module in sys.modules.items() if name.split('.')[0] == 'basicsr' and module]
    owners = [torchvision.ops, *modules]
    owners += [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    found = set()
    for owner in owners:
        for name, value in vars(owner).items():
            code = getattr(value, '__code__', None)
            home = code.co_filename if code else str(getattr(value, '__module__', ''))
            if 'ext_core' in home:
                found.add(f'{owner.__name__}.{name}')
    return sorted(found)


def main() -> None:
    """Print the outcome of everything without our patches."""
    torch.set_num_threads(1)
    imports_only = import_symptoms()
    from ext_core import compat

    stock = {name: outcome(one.run) for name, one in SCENARIOS.items()}
    for patch in compat.patches():
        if patch.state == 'pending':
            patch.needed = lambda: False
    compat.apply()
    print('JSON', json.dumps({'imports': imports_only, 'stock': stock, 'patched_names': patched_names()}), flush=True)
    os._exit(0)  # a thread of the hanging prefetcher is left


if __name__ == '__main__':
    main()
