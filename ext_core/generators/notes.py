"""What a state dict says of its network besides the weights: as a mark among them, or as a note of our networks."""

import json
from collections.abc import Mapping
from typing import Any

import torch

State = Mapping[str, Any]
MARK = 'basicsr_ext.network'  # tensor of JSON bytes beside the weights, for readers that see tensors only
_LONGEST_MARK = 10_000  # bytes


def said_of(state: State) -> dict[str, Any]:
    """Arguments that a state dict carries along: as a mark, or as our networks note them (``_metadata`` of torch)."""
    if MARK in state:
        return _unmarked(state[MARK])
    noted = getattr(state, '_metadata', None)
    root = noted.get('') if isinstance(noted, Mapping) else None
    said = root.get('network') if isinstance(root, Mapping) else None
    return _plain_values(said)


def mark_of(network: Mapping[str, Any]) -> torch.Tensor:
    """The value of :data:`MARK`: type and arguments of a network as bytes of JSON."""
    return torch.tensor(list(json.dumps(network, sort_keys=True).encode()), dtype=torch.uint8)


def without_mark(state: State) -> State:
    """The weights alone."""
    return {name: value for name, value in state.items() if name != MARK} if MARK in state else state


def _unmarked(mark: Any) -> dict[str, Any]:
    if not torch.is_tensor(mark) or mark.dtype != torch.uint8 or mark.numel() > _LONGEST_MARK:
        return {}
    try:
        return _plain_values(json.loads(bytes(mark.flatten().tolist())))
    except (ValueError, RecursionError):
        return {}


def _plain_values(said: Any) -> dict[str, Any]:
    """Names with numbers, words, and lists of numbers: all that arguments of networks are. A file may say anything."""
    if not isinstance(said, Mapping):
        return {}
    return {name: value for name, value in said.items() if isinstance(name, str) and is_plain(value)}


def is_plain(value: Any) -> bool:
    """Whether a value can be an argument of a network that comes from a file."""
    values = value if isinstance(value, list | tuple) else [value]
    return len(values) < 1000 and all(item is None or isinstance(item, bool | int | float | str) for item in values)
