"""Small test sets for the benchmark's tests, without photographs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from finished_experiments import finished_experiment

from ext_core.use.methods import TestSet, generator, hash_of, read_set, size_of
from ext_core.use.network import onnx_session

SIZES = {'first': (56, 64), 'second': (60, 48)}  # HR, height and width
NETWORK = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 2}


@pytest.fixture(autouse=True)
def fresh_caches():
    """Files have the same names in all tests, and other content: forget what was read of them."""
    yield
    for function in (hash_of, size_of, generator, onnx_session):
        function.cache_clear()


def picture(name: str) -> np.ndarray:
    """uint8 BGR with structure, another one for each name."""
    noise = np.random.default_rng(len(name)).uniform(0, 255, (*SIZES[name], 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip((smooth - smooth.mean()) * 6 + 128, 0, 255).astype(np.uint8)


def make_set(root: Path, scale: int = 2, name: str = 'tiny') -> TestSet:
    """A set of two pairs in ``root/<name>_HR`` and ``root/<name>_LR``."""
    high, low = root / f'{name}_HR', root / f'{name}_LR'
    for folder in (high, low):
        folder.mkdir()
    for image, (height, width) in SIZES.items():
        gt = picture(image)
        cv2.imwrite(str(high / f'{image}.png'), gt)
        size = (width // scale, height // scale)
        cv2.imwrite(str(low / f'{image}.png'), cv2.resize(gt, size, interpolation=cv2.INTER_AREA))
    return read_set(name, (high, low))


def argument(root: Path, name: str = 'tiny') -> str:
    """What ``--set`` takes."""
    return f'{name}={root / f"{name}_HR"}:{root / f"{name}_LR"}'


def make_experiment(folder: Path, scale: int = 2) -> Path:
    """An experiment whose generator gives its bilinear base image."""
    network = {**NETWORK, 'upscale': scale}
    net = build_network(network)
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    return finished_experiment(folder, network, net)
