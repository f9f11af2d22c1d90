"""What the background writer's tests share: a model that trains, and a thread that stands still."""

import copy
import threading
from pathlib import Path

import pytest
import torch
from compat_tools import model
from torch import nn

from ext_core.saving.checkpoint import load_checkpoint
from ext_core.saving.writer import CheckpointWriter


class Holder:
    """Lets the writer's thread stand still at a chosen place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: object, name: str):
        self.reached, self.go = threading.Event(), threading.Event()
        stock = getattr(place, name)

        def held(*args, **kwargs):
            if threading.current_thread().name == 'checkpoints':
                self.reached.set()
                assert self.go.wait(20)
            return stock(*args, **kwargs)

        monkeypatch.setattr(place, name, held)


class Trained:
    """A generator with BatchNorm, its moving average, Adam, and a writer, as a trainer has them."""

    def __init__(self, folder: Path, **options):
        for name in ('models', 'training_states'):
            (folder / name).mkdir()
        self.models, self.states = folder / 'models', folder / 'training_states'
        self.model = model(path={'models': str(self.models), 'training_states': str(self.states)})
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
        self.average = copy.deepcopy(self.net[0])
        self.adam = torch.optim.Adam(self.net.parameters(), lr=0.1)
        self.model.optimizers = [self.adam]
        self.model.schedulers = [torch.optim.lr_scheduler.MultiStepLR(self.adam, [2, 4])]
        self.model.model_ema = self.model_ema
        self.writer = self.model.checkpoint_writer = CheckpointWriter(self.states, **options)
        self.writer.guard(self.model)
        self.iteration = 0

    def model_ema(self) -> None:
        for mine, other in zip(self.average.parameters(), self.net[0].parameters(), strict=True):
            mine.data.lerp_(other.data, 0.5)

    def step(self) -> None:
        self.iteration += 1
        if self.iteration > 1:
            self.model.schedulers[0].step()
        self.adam.zero_grad()
        self.net(torch.rand(2, 1, 8, 8)).square().mean().backward()
        self.adam.step()
        self.model.model_ema()

    def save(self) -> None:
        self.model.save_network([self.net, self.average], 'net_g', self.iteration, ['params', 'params_ema'])
        self.model.save_training_state(0, self.iteration)
        self.writer.submit()


@pytest.fixture
def trained(tmp_path: Path):
    built = Trained(tmp_path)
    with built.writer:
        yield built


def contents(trained: Trained, iteration: int) -> list[dict]:
    return [
        load_checkpoint(trained.models / f'net_g_{iteration}.pth'),
        load_checkpoint(trained.states / f'{iteration}.state'),
    ]


def assert_same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, list | tuple):
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other
