"""Import every module of a package whose name ends in a given suffix, as BasicSR does for its own folders."""

import importlib
from pathlib import Path


def import_siblings(package_file: str, package_name: str, suffix: str) -> list[str]:
    """Import all ``*{suffix}.py`` beside ``package_file``.

    Python caches modules, so repeated calls register nothing twice.

    Args:
        package_file (str): ``__file__`` of the package's ``__init__``.
        package_name (str): ``__name__`` of the package.
        suffix (str): File name ending without ``.py``, for instance ``'_arch'``.

    Returns:
        list[str]: Dotted names of the modules, sorted.
    """
    stems = sorted(path.stem for path in Path(package_file).parent.glob(f'*{suffix}.py'))
    names = [f'{package_name}.{stem}' for stem in stems]
    for name in names:
        importlib.import_module(name)
    return names
