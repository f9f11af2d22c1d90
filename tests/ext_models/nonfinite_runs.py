"""A trainer on listed batches, some of them poisoned."""

import copy
import logging
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import DATASET_REGISTRY, LOSS_REGISTRY
from recipes import PIXEL, batches, options
from torch import Tensor, nn
from torch.utils.data import Dataset

from ext_core.train.resume import load_resume_state
from ext_core.train.trainer import Trainer

SGD = {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}


@DATASET_REGISTRY.register()
class NoImages(Dataset):
    """Stands where a dataset must; the batches come from a list."""

    def __init__(self, opt: dict):
        self.opt = opt

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> dict:
        raise AssertionError('batches come from the list')


@LOSS_REGISTRY.register()
class RootAtZero(nn.Module):
    """L1, plus, where the target's first pixel is -1, the root of zero: the loss is finite, its gradient is not."""

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        loss = (sr - gt).abs().mean()
        if (gt[:, 0, 0, 0] == -1).any():
            loss = loss + (sr * 0).sum().sqrt()
        return self.loss_weight * loss


class Listed:
    """Takes the place of a trainer's ``TrainingBatches``."""

    def __init__(self, real: Any, data: list[dict]):
        self.real, self.data = real, data
        self.epoch, self.batches_in_epoch = real.epoch, real.batches_in_epoch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def set_position(self, epoch: int, batches_in_epoch: int) -> None:
        self.epoch, self.batches_in_epoch = epoch, batches_in_epoch

    def __iter__(self):
        while True:
            self.batches_in_epoch += 1
            yield self.data[self.batches_in_epoch - 1]


def data_of(count: int, size: int = 2, gt_size: int = 16) -> list[dict]:
    """Good batches, each with the names of its files."""
    data = batches(count, size=size, gt_size=gt_size)
    for number, batch in enumerate(data):
        batch['lq_path'] = [f'lq/{number}_{sample}.png' for sample in range(size)]
    return data


def poisoned(data: list[dict], *bad: int, value: float = float('nan')) -> list[dict]:
    """With a bad pixel in the LR images of these batches, counted from 1; value -1 makes ``RootAtZero`` go bad."""
    data = copy.deepcopy(data)
    for number in bad:
        image = data[number - 1]['gt' if value == -1 else 'lq']
        image[0, :, 0, 0] = value
    return data


def run_options(folder: Path, nonfinite: dict | None, model_type: str = 'ExtSRModel', **kwargs: Any) -> dict:
    """Options of a run in ``folder``, which is made."""
    kwargs.setdefault('pixel_opt', PIXEL)
    if model_type == 'ExtSRModel':
        kwargs['discriminator'] = None
    opt = options(model_type, **kwargs)
    if nonfinite is not None:
        opt['train']['nonfinite'] = nonfinite
    paths = {'models': folder / 'models', 'training_states': folder / 'training_states', 'experiments_root': folder}
    for path in paths.values():
        path.mkdir(parents=True, exist_ok=True)
    opt['path'] = {name: str(path) for name, path in paths.items()}
    opt['auto_resume'] = False
    opt['logger'] = {'print_freq': 100, 'save_checkpoint_freq': 100, 'use_tb_logger': False}
    train = {'name': 'train', 'phase': 'train', 'type': 'NoImages', 'dataroot_gt': 'none'}
    opt['datasets'] = {'train': train | {'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0}}
    return opt


def trainer_on(opt: dict, data: list[dict], resume: bool = False) -> Trainer:
    """A trainer with weights that depend on the seed only."""
    torch.manual_seed(0)
    opt = copy.deepcopy(opt)
    state = load_resume_state(opt | {'auto_resume': True}) if resume else None
    trainer = Trainer(opt, logging.getLogger('basicsr'))
    if state is not None:
        trainer.resume(state)
    trainer.batches = Listed(trainer.batches, data)  # type: ignore[assignment]
    trainer._stream = iter(trainer.batches)
    return trainer


def state_of(trainer: Trainer) -> dict[str, Any]:
    """All that a training's next step depends on."""
    model = trainer.model
    nets = {name: net for name, net in vars(model).items() if name.startswith('net_') and isinstance(net, nn.Module)}
    return copy.deepcopy(
        {
            'iteration': trainer.iteration,
            'networks': {name: dict(model.get_bare_model(net).state_dict()) for name, net in nets.items()},
            'optimizers': [optimizer.state_dict() for optimizer in model.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in model.schedulers],
            'scaler': model.precision.scaler.state_dict(),
            'step': model.step_state(),
            'random': torch.get_rng_state(),
        }
    )
