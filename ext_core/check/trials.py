"""Components are tried on the spot, to hear before training what they would say in it."""

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as registration

from ext_core.errors import UserError

MOST_TENSORS = 5_000  # of weights in one network; those of super-resolution have up to 2,000
_KEPT = 8


def trial(where: str, make: Callable | None, arguments: dict) -> Iterator[str]:
    """What a component says against its arguments, or lacks (such as weights), when it is built; None is not tried."""
    if make is None:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            make(**{name: value for name, value in arguments.items() if name != 'type'})
    except UserError as error:
        yield f'{where}: {error}'
    except Exception as error:  # whatever it raises, it would raise again after the folders are made
        yield f'{where}: {arguments.get("type")} cannot be used so: {type(error).__name__}: {error}'


def build(make: Callable, arguments: dict) -> Any:
    """Make a component, without memory for its weights where it can do without.

    Raises:
        UserError: If it is too large for this machine, or says so.
        Exception: Whatever it raises with real weights.
    """
    with warnings.catch_warnings(), _bounded():
        warnings.simplefilter('ignore')
        try:
            with torch.device('meta'):
                return make(**arguments)
        except UserError:
            raise
        except Exception:  # some compute with their weights while they are built, which 'meta' cannot
            with torch.device('cpu'):
                return make(**arguments)


_networks: dict[tuple[type, str], torch.nn.Module] = {}  # the last few that need no memory


def network(kind: type, section: dict) -> torch.nn.Module:
    """The network of an option section, as :func:`build` makes it; the same section gives the same object."""
    arguments = {name: value for name, value in section.items() if name != 'type'}
    key = kind, repr(arguments)
    if key not in _networks:
        net = build(kind, arguments)
        empty = [name for name, weight in net.named_parameters() if not weight.numel()]
        if empty:
            raise UserError(f'its weights {empty[0]} would be empty. Raise its numbers of channels.')
        if not is_light(net):
            return net
        while len(_networks) >= _KEPT:
            del _networks[next(iter(_networks))]
        _networks[key] = net
    return _networks[key]


def is_light(net: torch.nn.Module) -> bool:
    """Whether a network was built without memory for its weights."""
    return all(weight.is_meta for weight in net.state_dict().values() if torch.is_tensor(weight))


@contextmanager
def _bounded() -> Iterator[None]:
    """A number with some digits too many would fill the memory, or never be done."""
    tensors = weights = 0
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')

    def count(module: Any, name: str, parameter: torch.Tensor | None) -> None:
        nonlocal tensors, weights
        tensors += 1
        weights += parameter.numel() if parameter is not None else 0
        if tensors > MOST_TENSORS:
            raise UserError(f'it would have more than {MOST_TENSORS:,} tensors of weights. Lower its numbers.')
        if weights * 4 > memory:
            raise UserError(
                f'its weights would need more than {weights * 4 / 2**30:,.0f} GiB, and this machine has '
                f'{memory / 2**30:,.0f}. Lower its numbers.'
            )

    hook = registration.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def optimizer_steps(optimizer: Callable) -> Callable[..., None]:
    """Build an optimizer over one number and step twice: some need what a training loop does not give them."""

    def steps(**arguments: Any) -> None:
        with torch.device('cpu'):
            _optimize(optimizer(_one_number(), **arguments))

    return steps


def scheduler_steps(scheduler: Callable, total_iter: Any) -> Callable[..., None]:
    """The same with a schedule."""

    def steps(**arguments: Any) -> None:
        if scheduler.__name__ == 'LinearDecayLR':
            arguments.setdefault('total_iter', total_iter)
        if scheduler.__name__ == 'CosineAnnealingRestartLR' and sum(arguments['periods']) < total_iter:
            raise UserError(
                f'its periods {arguments["periods"]} end before train:total_iter {total_iter}. Lengthen the last one.'
            )
        with torch.device('cpu'):
            optimizer = torch.optim.SGD(_one_number(), lr=1.0)
            _optimize(optimizer, scheduler(optimizer, **arguments).step)

    return steps


def _one_number() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.zeros(1))]


def _optimize(optimizer: torch.optim.Optimizer, after: Callable[[], None] = lambda: None) -> None:
    for _ in range(2):
        for group in optimizer.param_groups:
            for parameter in group['params']:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        after()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn at random inside is not missing outside."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
