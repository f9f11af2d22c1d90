"""Option files that BasicSR's own train.py and test.py can run."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from ext_core.options import yaml_safe
from ext_core.upstream.source import Source

_LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # what BasicSR makes of numbers; in C where it can be had
# sections whose ``type`` is no component
_NOT_COMPONENTS = ('io_backend', 'scheduler', 'grad_clip')


def known_in(tree: Path) -> set[str]:
    """Names that BasicSR's own files put into its registries."""
    known: set[str] = set()
    for folder in ('archs', 'losses', 'data', 'metrics', 'models'):
        for path in (tree / 'basicsr' / folder).glob('*.py'):
            known.update(Source(path, path.read_text(encoding='utf-8')).registered)
    return known


def types(section: dict[str, Any]) -> Iterator[str]:
    """Names of the components of an option file."""
    for key, value in section.items():
        if isinstance(value, dict) and key not in _NOT_COMPONENTS and not key.startswith('optim_'):
            yield from types(value)
        elif key in ('model_type', 'type') and isinstance(value, str):
            yield value


def why_not(path: Path, known: Collection[str]) -> str | None:
    """Why an option file stays here, or None.

    Args:
        path (Path): The file.
        known (Collection[str]): All registered names.
    """
    opt = yaml_safe.read(path)
    if '_base_' in opt:
        return 'it inherits from another file, which BasicSR does not know'
    if 'model_type' not in opt:
        return "it is no option file of BasicSR's train.py"
    if opt != yaml.load(path.read_text(encoding='utf-8'), Loader=_LOADER):
        return 'it writes numbers that BasicSR reads as texts'
    unknown = sorted(set(types(opt)) - set(known))
    return f'it needs {", ".join(unknown)}' if unknown else None


def option_files(root: Path) -> list[Path]:
    """Our recipes."""
    return sorted((root / 'options').glob('t*_*.yml'))
