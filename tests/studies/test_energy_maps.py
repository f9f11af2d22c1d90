"""What the discriminator of an energy GAN says: the table of images whose energies are known."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studies import energy_maps as script

ROWS = ['real', 'generated', 'bicubic', 'bicubic x2', 'real + noise 5', 'bicubic + noise 8', 'over-sharpened',
        'JPEG 10', 'checkerboard 6']  # fmt: skip


class Grey(nn.Module):
    """An autoencoder that gives mid-grey: U = mean (2 x - 1)^2."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return (self.scale * (2 * x - 1)).square()

    def reconstruct(self, x: Tensor) -> Tensor:
        return torch.full_like(x, 0.5)


class Brighter(nn.Module):
    """A generator that repeats pixels and adds 10 grey levels."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(10 / 255))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=4) + self.offset


def test_table_in_closed_form(tmp_path):
    """Even images of 200 and of 50 levels: 10 levels more bring the first further from mid-grey, the second nearer."""
    folders = tmp_path / 'gt', tmp_path / 'lq'
    for folder, size in zip(folders, (32, 8), strict=True):
        folder.mkdir()
        for name, level in (('bright', 200), ('dark', 50)):
            cv2.imwrite(str(folder / f'{name}.png'), np.full((size, size, 3), level, np.uint8))
    energies, shown = script.measure(Grey(), SimpleNamespace(net=Brighter(), scale=4), folders, None, 1)
    results = script.summary(energies)

    def energy(*levels: int) -> float:
        return float(np.mean([(2 * level / 255 - 1) ** 2 for level in levels]))

    assert list(results) == ROWS
    for row in ('real', 'bicubic', 'bicubic x2', 'over-sharpened'):  # of even images they are the image
        assert results[row]['images'] == pytest.approx({'bright.png': energy(200), 'dark.png': energy(50)}, rel=1e-5)
    assert results['generated']['energy'] == pytest.approx(energy(210, 60), rel=1e-5)
    assert results['generated']['above_real'] == 0.5
    assert results['checkerboard 6']['energy'] == pytest.approx(energy(194, 206, 44, 56), rel=1e-5)
    assert results['checkerboard 6']['above_real'] == 1
    assert results['bicubic']['above_real'] == 0  # equal is not above
    assert results['real']['above_real'] is None

    assert len(shown) == 1
    assert list(shown[0].judged) == ['real', 'generated', 'bicubic']
    assert shown[0].judged['generated'].energy_map == pytest.approx(np.full((32, 32), energy(210)), rel=1e-5)
    assert (shown[0].reconstruction == 128).all()

    lines = script.table(results, 'title').splitlines()
    assert lines[:3] == [
        'title',
        '                          energy  above real',
        f'real                {energy(200, 50):12.3e}',
    ]
    assert lines[3] == f'generated           {energy(210, 60):12.3e}        0.50'
