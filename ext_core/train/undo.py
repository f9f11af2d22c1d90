"""A copy of a training's state in memory, to take iterations back."""

import copy
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ext_data.samples import rng_state, set_rng_state


class UndoCopy:
    """A copy of all that the next step of a model needs, on its device.

    Weights and buffers, EMA, the states of optimizers, schedules and gradient scaler, ``step_state`` and the random
    generators. Parameters that nothing changes (frozen VGG features) are left out. It takes as much memory as these,
    and a few fused copies: about what one step of Adam moves. A restored training computes the same bits again, as far
    as the device's operations do.

    Args:
        model (ExtSRModel): Has ``optimizers``, ``schedulers``, ``precision`` and ``step_state``.
    """

    def __init__(self, model: Any):
        self.model = model
        self._copies: list[tuple[list[Tensor], list[Tensor]]] = []

    @torch.no_grad()
    def take(self) -> None:
        """Remember the present state instead of the former one."""
        model = self.model
        self._states = [
            {key: {name: _kept(value) for name, value in state.items()} for key, state in optimizer.state.items()}
            for optimizer in model.optimizers
        ]
        of_optimizers = (
            value
            for states in self._states
            for state in states.values()
            for value in state.values()
            if isinstance(value, Tensor)
        )
        alike: dict[Any, list[Tensor]] = defaultdict(list)  # fused copies take one device and type
        for tensor in (*_changing_tensors(model), *of_optimizers):
            alike[tensor.device, tensor.dtype].append(tensor)
        self._copies = []  # the memory of the former state is this one's
        for sources in alike.values():
            self._copies.append((sources, [torch.empty_like(tensor) for tensor in sources]))
            torch._foreach_copy_(self._copies[-1][1], sources)
        self._groups = [
            [{name: copy.deepcopy(value) for name, value in group.items() if name != 'params'} for group in groups]
            for groups in (optimizer.param_groups for optimizer in model.optimizers)
        ]
        self._schedules = [copy.deepcopy(scheduler.state_dict()) for scheduler in model.schedulers]
        self._scaler = model.precision.scaler.state_dict()
        self._step_state = copy.deepcopy(model.step_state())
        self._random = rng_state()

    @torch.no_grad()
    def restore(self) -> None:
        """Return to the state of the last :meth:`take`; any number of times."""
        model = self.model
        for sources, targets in self._copies:
            torch._foreach_copy_(sources, targets)
        for optimizer, states, groups in zip(model.optimizers, self._states, self._groups, strict=True):
            optimizer.state.clear()  # also what did not exist yet
            for key, state in states.items():
                optimizer.state[key] = {name: _kept(value) for name, value in state.items()}
            for group, settings in zip(optimizer.param_groups, groups, strict=True):
                group.update(copy.deepcopy(settings))
        for scheduler, schedule in zip(model.schedulers, self._schedules, strict=True):
            scheduler.load_state_dict(copy.deepcopy(schedule))
        model.precision.scaler.load_state_dict(self._scaler)
        model.load_step_state(copy.deepcopy(self._step_state))
        set_rng_state(self._random)


def _changing_tensors(model: Any) -> Iterator[Tensor]:
    """Of the model's networks, losses and views: each tensor once, though a VGG may be shared."""
    seen: set[int] = set()
    for name, module in vars(model).items():
        if not isinstance(module, nn.Module):
            continue
        average = name.endswith('_ema')  # its frozen parameters follow those of its source, to rounding
        parameters = (parameter for parameter in module.parameters() if average or parameter.requires_grad)
        for tensor in (*parameters, *module.buffers()):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor.detach()


def _kept(value: Any) -> Any:
    """Tensors are copied together with all others; what else an optimizer keeps is small."""
    return value if isinstance(value, Tensor) else copy.deepcopy(value)
