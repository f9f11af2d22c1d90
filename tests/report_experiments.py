"""Folders as trainings leave them, small, and with known contents."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ext_core.options import yaml_safe

NETWORK = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 4}
HEAD = '2026-01-02 03:04:05,678 INFO: '


def options(name: str, **changes: Any) -> dict[str, Any]:
    """A small option file's content."""
    train = {'total_iter': 40, 'optim_g': {'type': 'Adam', 'lr': 1e-4, 'betas': [0.9, 0.99]}}
    metrics = {'psnr': {'type': 'calculate_psnr'}, 'lpips': {'type': 'calculate_lpips', 'better': 'lower'}}
    opt = {'name': name, 'model_type': 'SRModel', 'scale': 4, 'network_g': dict(NETWORK), 'train': train}
    return opt | {'val': {'val_freq': 20, 'metrics': metrics}} | changes


def write_curves(folder: Path, curves: dict[str, dict[int, float]], purge_step: int | None = None) -> None:
    """A TensorBoard file, as BasicSR's ``SummaryWriter`` writes it."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=purge_step) as writer:
        for tag, curve in curves.items():
            for step, value in curve.items():
                writer.add_scalar(tag, value, step)


def step_line(step: int, seconds: int, rate: str, values: str) -> str:
    """A line of a log as BasicSR's ``MessageLogger`` writes it."""
    stamp = f'2026-01-02 03:{4 + seconds // 60:02d}:{seconds % 60:02d},000 INFO: '
    eta = '[eta: 0:00:10, time (data): 0.100 (0.001)]'
    return f'{stamp}[tiny..][epoch:  0, iter:{step:8,d}, lr:({rate},)] {eta} {values} \n'


def validation_lines(dataset: str, values: str) -> str:
    """The block of a validation, metrics separated by commas."""
    lines = ''.join(f'\t # {value}\tBest: 0.0000 @ 5 iter\n' for value in values.split(', '))
    return f'{HEAD}Validation {dataset}\n{lines}\n'


def make_experiment(root: Path, name: str, opt: dict[str, Any] | None = None, log: str | None = None) -> Path:
    """``experiments/NAME`` with an option file and a log."""
    folder = root / 'experiments' / name
    folder.mkdir(parents=True)
    if opt is not None:
        (folder / f'{name}.yml').write_text(yaml_safe.dump(opt), encoding='utf-8')
    if log is not None:
        (folder / f'train_{name}_20260102_030405.log').write_text(log, encoding='utf-8')
    return folder


def save_picture(path: Path, seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """An image of noise, by its seed; returns it."""
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return image
