"""Optimizers by their name in the option file."""

import importlib.util
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ext_models.weights import is_inside

_LIBRARY = 'pytorch_optimizer'


def find_optimizer(name: Any) -> Callable[..., torch.optim.Optimizer] | None:
    """The optimizer class of that name: torch's, or else that of the package ``pytorch_optimizer`` where it is
    installed; None where neither has it."""
    if not isinstance(name, str):
        return None
    if _is_optimizer(own := getattr(torch.optim, name, None)):
        return own
    if importlib.util.find_spec(_LIBRARY) is None:
        return None
    found = getattr(importlib.import_module(_LIBRARY), name, None)
    return found if _is_optimizer(found) else None


def optimizer_names() -> list[str]:
    """Those of torch, without those of the package, whose import takes long."""
    return sorted(name for name, value in vars(torch.optim).items() if _is_optimizer(value))


def where_to_get_more() -> str:
    """What to do where a name is in neither, for messages; '' if the package is installed."""
    if importlib.util.find_spec(_LIBRARY) is not None:
        return ''
    return f' Others, such as SOAP, are in a package: pip install -c constraints.txt {_LIBRARY}.'


def _is_optimizer(value: Any) -> bool:
    base = torch.optim.Optimizer
    return inspect.isclass(value) and issubclass(value, base) and value is not base


def parameter_groups(net: nn.Module, lr: float, lr_mult: dict[str, float] | None) -> list[Any]:
    """The trainable parameters of a network, in groups by their learning rate.

    Args:
        net (Module): The network, bare.
        lr (float): The learning rate.
        lr_mult (dict[str, float] | None): Factors on it by layer: ``{conv3: 0.1}`` trains ``conv3`` and all within it
            at a tenth of the rate. Of several names the longest that fits counts; factor 0 lets a layer stay as it is.

    Returns:
        list: Parameters, or where ``lr_mult`` is given groups as ``torch.optim`` takes them, the plain rate first.

    Raises:
        ValueError: If a name is no layer of the network, or a factor is no number of 0 or more.
    """
    named = [(name, parameter) for name, parameter in net.named_parameters() if parameter.requires_grad]
    if not lr_mult:
        return [parameter for _, parameter in named]
    for layer, factor in lr_mult.items():
        if not isinstance(factor, int | float) or isinstance(factor, bool) or factor < 0:
            raise ValueError(f"lr_mult:{layer} must be a number, 0 or more, but is '{factor}'.")
        if not any(is_inside(name, layer) for name, _ in named):
            layers = ', '.join(dict.fromkeys(name.split('.')[0] for name, _ in named))
            raise ValueError(f"lr_mult: the network has no trainable layer '{layer}'. It has {layers}.")
    groups: dict[str, dict[str, Any]] = {'': {'params': [], 'lr': lr}}
    for name, parameter in named:
        layer = max((layer for layer in lr_mult if is_inside(name, layer)), key=len, default='')
        groups.setdefault(layer, {'params': [], 'lr': lr * lr_mult.get(layer, 1)})['params'].append(parameter)
    return [group for group in groups.values() if group['params']]
