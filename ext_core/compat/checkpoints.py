"""Patches for saving and loading: atomic, loud, clear about weights that do not fit. BasicSR's file formats stay."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info, master_only
from torch import nn

from ext_core.checkpoint import atomic_save, load_checkpoint
from ext_core.compat.patch import Patch, contains
from ext_core.errors import UserError
from ext_core.weights import option_suffix, select_weights, weights_problem

_PREFIX = 'module.'  # of a state dict taken from a wrapped network


@master_only
def save_network(
    self: Any,
    net: nn.Module | list[nn.Module],
    net_label: str,
    current_iter: int,
    param_key: str | list[str] = 'params',
) -> None:
    """Replaces ``BaseModel.save_network``: writes ``{net_label}_{iter}.pth`` whole or not at all, raises on failure.

    Args:
        net (Module | list[Module]): Network(s), wrapped or bare.
        net_label (str): Beginning of the file name.
        current_iter (int): Iteration; -1 stands for 'latest'.
        param_key (str | list[str]): Key(s) of the network(s) in the file. Default: 'params'.

    Raises:
        UserError: If the file cannot be written.
    """
    nets = net if isinstance(net, list) else [net]
    keys = param_key if isinstance(param_key, list) else [param_key]
    weights = {key: _bare(self.get_bare_model(one).state_dict()) for one, key in zip(nets, keys, strict=True)}
    iteration = 'latest' if current_iter == -1 else current_iter
    atomic_save(weights, os.path.join(self.opt['path']['models'], f'{net_label}_{iteration}.pth'))


def _bare(weights: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """The same state dict on the CPU, with the names of an unwrapped network and the versions of its modules."""
    bare = OrderedDict(
        (name.removeprefix(_PREFIX), value.detach().cpu() if torch.is_tensor(value) else value)
        for name, value in weights.items()
    )
    if hasattr(weights, '_metadata'):
        bare._metadata = weights._metadata  # type: ignore[attr-defined]
    return bare


def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
    """Replaces ``BaseModel.save_training_state``: writes ``{iter}.state`` whole or not at all, and raises on failure.

    To be called on every rank: a model's ``extra_training_state`` may gather from all of them. Its result is stored
    under 'ext'. Rank 0 writes.

    Args:
        epoch (int): Current epoch.
        current_iter (int): Current iteration; -1 (end of the training) writes nothing.

    Raises:
        UserError: If the file cannot be written.
    """
    if current_iter == -1:
        return
    extra = getattr(self, 'extra_training_state', None)
    state = {
        'epoch': epoch,
        'iter': current_iter,
        'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
    }
    if callable(extra):
        state['ext'] = extra()
    if get_dist_info()[0] == 0:
        atomic_save(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))


def load_network(
    self: Any, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
) -> None:
    """Replaces ``BaseModel.load_network``: no code is run, a file for another network is named as such.

    Args:
        net (Module): Network, wrapped or bare.
        load_path (str): File with weights under ``param_key``, under 'params', or at its root (a bare state dict).
        strict (bool): Whether names and shapes must all agree. Default: True.
        param_key (str | None): Key of the weights; None takes the root. Default: 'params'.

    Raises:
        UserError: If the file cannot be read, has no such key, or (strict) holds weights for another network.
    """
    net = self.get_bare_model(net)
    key, weights = select_weights(load_checkpoint(load_path), param_key, load_path)
    if key != param_key:
        get_root_logger().info(f"'{param_key}' does not exist in {load_path}, use {key or 'the bare state dict'}.")
    get_root_logger().info(f'Loading {net.__class__.__name__} model from {load_path}, with param key: [{key}].')
    weights = _bare(weights)
    problem = weights_problem(net, weights, load_path, option_suffix(self, net)) if strict else None
    if problem:
        raise UserError(problem)
    self._print_different_keys_loading(net, weights, strict)
    net.load_state_dict(weights, strict=strict)


PATCHES = [
    Patch(
        'save_network',
        'networks are written in place and errors are ignored: a kill or a full disk leaves a truncated file, and the '
        'training ends with status 0',
        lambda: contains(BaseModel.save_network, 'torch.save(save_dict, save_path)'),
        lambda: setattr(BaseModel, 'save_network', save_network),
    ),
    Patch(
        'save_training_state',
        'the training state is written in place and errors are ignored; a resume finds a truncated file',
        lambda: contains(BaseModel.save_training_state, 'torch.save(state, save_path)'),
        lambda: setattr(BaseModel, 'save_training_state', save_training_state),
    ),
    Patch(
        'load_network',
        'weights for another network, a truncated file or a bare state dict end in a long traceback, and none is named',
        lambda: contains(BaseModel.load_network, 'torch.load(load_path, map_location=lambda'),
        lambda: setattr(BaseModel, 'load_network', load_network),
    ),
]
