"""The noise of photographs, against noise that was added to scenes without any."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ext_metrics.noise_level import noise_level
from ext_models.degrading import noisy


def scenes() -> list[Tensor]:
    """Six images of 256 px: brightness that changes slowly, and texture on a third of the width."""
    draw = torch.Generator().manual_seed(0)
    images = F.interpolate(torch.rand(6, 3, 5, 5, generator=draw), size=256, mode='bicubic').clamp(0, 1)
    images[..., :85] = (images[..., :85] + 0.2 * torch.randn(6, 3, 256, 85, generator=draw)).clamp(0, 1)
    return list(images)


@pytest.mark.parametrize(('read', 'shot'), [(2, 0), (4, 8), (0, 6), (8, 4)])
def test_added_noise_is_found(read, shot):
    torch.manual_seed(1)
    images = [(noisy(image, read, shot).clamp(0, 1) * 255).round() / 255 for image in scenes()]
    found = noise_level(images)
    for grey in (0.2, 0.8):
        wanted = (read**2 + shot**2 * grey) ** 0.5
        assert (found[0] ** 2 + found[1] ** 2 * grey) ** 0.5 == pytest.approx(wanted, rel=0.1)


def test_scenes_without_noise_have_little():
    assert max(noise_level(scenes())) < 0.2


@pytest.mark.parametrize(('image', 'most'), [(torch.zeros(3, 40, 40), 0), (torch.full((3, 24, 24), 0.5), 1e-3)])
def test_black_and_small_images_give_figures_too(image, most):
    assert max(noise_level([image])) <= most
