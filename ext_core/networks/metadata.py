"""Metadata in a generator's file.

In the header of a .safetensors file and in the properties of an .onnx file: :class:`Metadata`. Among the weights: a
mark, or the note that our networks save with them (:func:`said_of`). Files come from anywhere, so what is read is
checked; nothing that is written names a machine, a user or a path.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any

import torch

from ext_core.errors import UserError
from ext_models.weights import NOTES as PREFIX

MARK = f'{PREFIX}network'  # tensor of JSON bytes beside the weights, for readers that see tensors only
_LONGEST_MARK = 10_000  # bytes
_LONGEST = 100_000  # characters of one value
_LARGEST = 4096  # of a number among the arguments of a network; a hostile file must not fill the memory
_FILES = ('.pth', '.safetensors', '.lmdb', '.txt', '.yml', '.json', '.npz', '.state')


def product() -> str:
    """Name and version of what writes the file."""
    try:
        return f'BasicSR-Ext {version("basicsr-ext")}'
    except PackageNotFoundError:
        return 'BasicSR-Ext'


@dataclass(frozen=True)
class Metadata:
    """What is known of a generator besides its weights.

    Args:
        network (dict[str, Any]): As ``network_g``: type and arguments.
        scale (int): SR size / LR size; of a network that reduces, HR size / LR size.
        iteration (int | None): After which it was saved.
        datasets (tuple[str, ...]): Names of the training sets.
        metrics (dict[str, dict[str, dict[str, float]]]): Of each validation set, of each metric, 'best' and the 'iter'
            of it, and 'last'.
        product (str): What wrote the file.
        extra (dict[str, str]): Further lines, such as those of ONNX export.
    """

    network: dict[str, Any]
    scale: int
    iteration: int | None = None
    datasets: tuple[str, ...] = ()
    metrics: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    product: str = field(default_factory=product)
    extra: dict[str, str] = field(default_factory=dict)

    def to_strings(self) -> dict[str, str]:
        """As names and texts, which is all that the formats hold."""
        values = {
            'network': json.dumps(self.network, sort_keys=True),
            'scale': str(self.scale),
            'iteration': '' if self.iteration is None else str(self.iteration),
            'datasets': json.dumps(list(self.datasets)) if self.datasets else '',
            'metrics': json.dumps(self.metrics, sort_keys=True) if self.metrics else '',
            'product': self.product,
            **self.extra,
        }
        return {PREFIX + name: value for name, value in values.items() if value}


def from_strings(strings: Mapping[str, str], path: str) -> Metadata | None:
    """Inverse of :meth:`Metadata.to_strings`; None without metadata of ours.

    Args:
        strings (Mapping[str, str]): All names and texts of the file.
        path (str): The file, for messages.

    Raises:
        UserError: If it is damaged, or no description of a network.
    """
    ours = {name.removeprefix(PREFIX): text for name, text in strings.items() if name.startswith(PREFIX)}
    if 'network' not in ours:
        return None
    try:
        if max(map(len, ours.values())) > _LONGEST:
            raise ValueError('a value is too long')
        network = json.loads(ours.pop('network'))
        if not isinstance(network, dict) or not isinstance(network.get('type'), str):
            raise ValueError('network has no type')
        for name, value in network.items():
            values = value if isinstance(value, list) else [value]
            numbers = [abs(item) for item in values if isinstance(item, int | float)]
            if not is_plain(value) or any(not number <= _LARGEST for number in numbers):  # NaN is refused too
                raise ValueError(f'network: {name} cannot be {str(value)[:40]}')
            if any(isinstance(item, str) and ('/' in item or '\\' in item) for item in values):
                raise ValueError(f'network: {name} is a path')  # a network that opens files is not opened from a file
        scale = int(ours.pop('scale'))
        if not 1 <= scale <= 64:
            raise ValueError(f'scale {scale}')
        iteration = ours.pop('iteration', None)
        figures = {  # infinities and NaN are left out
            str(dataset): {
                str(metric): {
                    str(kind): number
                    for kind, number in kinds.items()
                    if isinstance(number, int | float) and isfinite(number)
                }
                for metric, kinds in metrics.items()
            }
            for dataset, metrics in json.loads(ours.pop('metrics', '{}')).items()
        }
        return Metadata(
            network,
            scale,
            None if iteration is None else int(iteration),
            tuple(str(name) for name in json.loads(ours.pop('datasets', '[]'))),
            figures,
            ours.pop('product', ''),
            ours,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f'{path}: its metadata ({PREFIX}...) is damaged: {type(error).__name__}: {error}. Convert the checkpoint '
            'again with scripts/convert_weights.py, or name the option file.'
        ) from error


# ---------------------------------------------------------------------- among the weights
def said_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that a state dict carries along: as a mark, or as our networks note them (``_metadata`` of torch)."""
    said: Any = None
    if MARK in state:
        mark = state[MARK]
        if torch.is_tensor(mark) and mark.dtype == torch.uint8 and mark.numel() <= _LONGEST_MARK:
            with contextlib.suppress(ValueError, RecursionError):
                said = json.loads(bytes(mark.flatten().tolist()))
    else:
        noted = getattr(state, '_metadata', None)
        root = noted.get('') if isinstance(noted, Mapping) else None
        said = root.get('network') if isinstance(root, Mapping) else None
    said = said if isinstance(said, Mapping) else {}
    return {name: value for name, value in said.items() if isinstance(name, str) and is_plain(value)}


def without_mark(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights alone."""
    return {name: value for name, value in state.items() if name != MARK} if MARK in state else state


def is_plain(value: Any) -> bool:
    """Whether a value can be an argument of a network that comes from a file."""
    values = value if isinstance(value, list | tuple) else [value]
    return len(values) < 1000 and all(item is None or isinstance(item, bool | int | float | str) for item in values)


# ---------------------------------------------------------------------- option files
def looks_like_path(value: Any) -> bool:
    """Whether a value may name a place on a disk."""
    return isinstance(value, str) and ('/' in value or '\\' in value or value.startswith('~') or value.endswith(_FILES))


def training_sets(opt: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the training sets of an option file."""
    sections = opt.get('datasets')
    sections = sections.items() if isinstance(sections, Mapping) else ()
    names = [section.get('name') for key, section in sections if str(key).startswith('train') and section]
    return tuple(str(name) for name in names if isinstance(name, str) and not looks_like_path(name))
