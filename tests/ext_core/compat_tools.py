"""What the scenarios of the compatibility tests share."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch.distributed as dist

from ext_core.errors import UserError


class Scenario(NamedTuple):
    """The patch that cures a cause, what BasicSR reports without it, and a function that raises where it persists."""

    patch: str
    symptom: str
    run: Callable[[], None]


SCENARIOS: dict[str, Scenario] = {}


def scenario(patch: str, symptom: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a scenario. ``symptom`` is a regular expression for the error without the patch."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        SCENARIOS[function.__name__] = Scenario(patch, symptom, function)
        return function

    return register


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """A gloo group of this process alone."""
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def raises(function: Callable[[], object], *parts: str) -> None:
    """Assert a UserError whose message holds all ``parts``; every other error passes through."""
    try:
        function()
    except (UserError, ValueError, OSError) as error:
        message = str(error)
    else:
        raise AssertionError(f'no error, expected one that names {parts}')
    missing = [part for part in parts if part not in message]
    assert not missing, f'the message lacks {missing}: {message}'


def in_child(function: Callable[[], None]) -> None:
    """Run ``function`` in a forked child, whose death by a signal this process survives."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            function()
            os.write(write, b'passed')
        except BaseException as error:
            os.write(write, f'{type(error).__name__}: {error}'.encode())
        finally:
            os._exit(0)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read, 'rb') as pipe:
        text = pipe.read().decode()
    assert not os.WIFSIGNALED(status), f'the child was killed by signal {os.WTERMSIG(status)}'
    assert text == 'passed', text


def model(**options: object):
    """A BasicSR base model on the CPU."""
    from basicsr.models.base_model import BaseModel

    return BaseModel({'num_gpu': 0, 'is_train': True, 'dist': False, 'val': {}, **options})


def outcome(function: Callable[[], object]) -> str:
    """'passed', or the error as one text."""
    try:
        function()
    except BaseException as error:
        return f'{type(error).__name__}: {error}'
    return 'passed'
