"""The runs behind tests/golden: their images, their small networks, and the command that trains them."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ext_core import launch

GOLDEN = Path(__file__).resolve().parents[1] / 'golden'
IMAGES = {'gt': 64, 'lq': 16, 'real': 16}  # folders, and the side of their images


@ARCH_REGISTRY.register()
class GoldenAutoencoder(nn.Module):
    """A discriminator for EnergyGANModel whose state is small: VGGUAE's decoder alone has 40 MB."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 4, 4)
        self.decoder = nn.ConvTranspose2d(4, 3, 4, 4)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decoder(torch.tanh(self.encoder(x)))

    def forward(self, x: Tensor) -> Tensor:
        return (self.reconstruct(x) - x).square()


def write_images(root: Path) -> None:
    """Four images in each folder, noise that NumPy has promised to keep."""
    for number, (name, side) in enumerate(IMAGES.items()):
        (root / name).mkdir()
        for index in range(4):
            noise = np.random.default_rng([number, index]).integers(0, 256, (side, side, 3), np.uint8)
            assert cv2.imwrite(str(root / name / f'{index}.png'), noise)


def train(root: Path, name: str, *flags: str) -> Path:
    """Train with ``golden/<name>/options.yml`` in the current folder ``root``, which gets the images."""
    if not (root / 'gt').exists():
        write_images(root)
    assert launch.train(root, ['-opt', str(GOLDEN / name / 'options.yml'), *flags]) == 0
    return root / 'experiments' / name


def make(root: Path, name: str) -> None:
    """Record a run: what iteration 2 left on the disk, and the networks of iteration 4 in a folder of their own."""
    experiment, golden = train(root, name), GOLDEN / name
    for source, pattern, target in (
        ('models', '*_2.pth', 'models'),
        ('training_states', '2.*', 'training_states'),
        ('models', '*_4.pth', 'iteration_4'),
    ):
        (golden / target).mkdir(exist_ok=True)
        for file in (experiment / source).glob(pattern):
            shutil.copy(file, golden / target)
