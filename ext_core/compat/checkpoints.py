"""Patches for saving and loading: atomic, loud, clear about weights that do not fit. BasicSR's file formats stay."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info, master_only
from torch import nn

from ext_core.compat.patch import Patch, contains
from ext_core.errors import UserError
from ext_core.saving.checkpoint import atomic_save, load_checkpoint
from ext_core.saving.snapshots import frozen, rebuilt
from ext_core.saving.weights import loading_problem, option_suffix, select_weights

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

    A model with a ``checkpoint_writer`` (:class:`ext_core.saving.writer.CheckpointWriter`) hands the file to it.

    Args:
        net (Module | list[Module]): Network(s), wrapped or bare.
        net_label (str): Beginning of the file name.
        current_iter (int): Iteration; -1 stands for 'latest'.
        param_key (str | list[str]): Key(s) of the network(s) in the file. Default: 'params'.

    Raises:
        UserError: If the file cannot be written.
    """
    nets = [self.get_bare_model(one) for one in (net if isinstance(net, list) else [net])]
    keys = param_key if isinstance(param_key, list) else [param_key]
    named = list(zip(keys, nets, strict=True))

    def content() -> dict[str, Any]:
        return {key: _bare(one.state_dict()) for key, one in named}

    path = f'{self.opt["path"]["models"]}/{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
    writer = getattr(self, 'checkpoint_writer', None)
    if writer is None:
        atomic_save(_on_cpu(content()), path)
    else:
        iteration = current_iter if isinstance(current_iter, int) and current_iter >= 0 else None
        writer.add(path, content, iteration, nets)


def _on_cpu(value: Any) -> Any:
    return rebuilt(value, lambda tensor: tensor.detach().cpu())


def _bare(weights: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """The same state dict with the names of an unwrapped network and the versions of its modules."""
    bare = OrderedDict((name.removeprefix(_PREFIX), value) for name, value in weights.items())
    if hasattr(weights, '_metadata'):
        bare._metadata = weights._metadata  # type: ignore[attr-defined]
    return bare


def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
    """Replaces ``BaseModel.save_training_state``: writes ``{iter}.state`` whole or not at all, and raises on failure.

    To be called on every rank: a model's ``extra_training_state`` may gather from all of them. Its result, which must
    not change later, is stored under 'ext'. Rank 0 writes, or hands the file to the model's ``checkpoint_writer``.

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
        'optimizers': [],
        'schedulers': [frozen(scheduler.state_dict()) for scheduler in self.schedulers],
    }
    if callable(extra):
        state['ext'] = extra()
    if get_dist_info()[0] != 0:
        return
    # schedulers change the groups in this iteration yet, optimizers their states in the next one
    own_groups = [(optimizer, _own_groups(optimizer)) for optimizer in self.optimizers]

    def content() -> dict[str, Any]:
        return state | {'optimizers': [_with_groups(optimizer.state_dict(), own) for optimizer, own in own_groups]}

    path = f'{self.opt["path"]["training_states"]}/{current_iter}.state'
    writer = getattr(self, 'checkpoint_writer', None)
    if writer is None:
        atomic_save(_on_cpu(content()), path)
    else:
        writer.add(path, content, current_iter)


def _own_groups(optimizer: Any) -> list[dict[str, Any]]:
    """What the parameter groups of an optimizer hold besides the parameters, as a copy."""
    return [{key: frozen(group[key]) for key in group if key != 'params'} for group in optimizer.param_groups]


def _with_groups(state: dict[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """An optimizer's state dict with other values in its groups."""
    merged = [saved | own for saved, own in zip(state['param_groups'], groups, strict=True)]
    return state | {'param_groups': merged}


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
    problem = loading_problem(net, weights, load_path, option_suffix(self, net), strict)
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
