"""Components are tried on the spot, to hear before training what they would say in it."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ext_core.errors import UserError


def trial(where: str, build: Callable | None, arguments: dict) -> Iterator[str]:
    """What a component says against its arguments, or lacks (such as weights), when it is built; None is not tried."""
    if build is None:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            build(**{name: value for name, value in arguments.items() if name != 'type'})
    except UserError as error:
        yield f'{where}: {error}'
    except Exception as error:  # whatever it raises, it would raise again after the folders are made
        yield f'{where}: {arguments.get("type")} cannot be used so: {type(error).__name__}: {error}'


def optimizer_steps(optimizer: Callable) -> Callable[..., None]:
    """Build an optimizer over one number and step twice: some need what a training loop does not give them."""

    def steps(**arguments: Any) -> None:
        _optimize(optimizer([torch.nn.Parameter(torch.zeros(1))], **arguments))

    return steps


def scheduler_steps(scheduler: Callable, total_iter: Any) -> Callable[..., None]:
    """The same with a schedule."""

    def steps(**arguments: Any) -> None:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        if scheduler.__name__ == 'LinearDecayLR':
            arguments.setdefault('total_iter', total_iter)
        if scheduler.__name__ == 'CosineAnnealingRestartLR' and sum(arguments['periods']) < total_iter:
            raise UserError(
                f'its periods {arguments["periods"]} end before train:total_iter {total_iter}. Lengthen the last one.'
            )
        _optimize(optimizer, scheduler(optimizer, **arguments).step)

    return steps


def _optimize(optimizer: torch.optim.Optimizer, after: Callable[[], None] = lambda: None) -> None:
    for _ in range(2):
        for group in optimizer.param_groups:
            for parameter in group['params']:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        after()
