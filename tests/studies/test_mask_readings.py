"""The script that shows what the readings of the mask do, on images with known errors."""

import pytest
import torch
from torch import Tensor

from studies import mask_readings as script


def even_errors() -> list[tuple[Tensor, Tensor]]:
    """Grey images with an error of one level, 64 pixels, and of two levels, 128 pixels."""
    grey = [torch.full((1, 3, 8, width), 0.5) for width in (8, 16)]
    return [(grey[0] + 1 / 255, grey[0]), (grey[1] + 2 / 255, grey[1])]


def test_script_takes_the_images_as_one_batch():
    """The mean of E is (64 * 1 + 128 * 4) / 192 = 3."""
    images = even_errors()
    mask = script.build_masks(images, 0.2, 0.5)['error_norm: mean']
    for pair, error in zip(images, (1, 4), strict=True):
        torch.testing.assert_close(mask.mask(*pair).mean().item(), 0.5 + 0.2 * error / 3, rtol=0, atol=1e-4)


def test_script_figures_in_closed_form():
    """One level: E = 1, the mask is 0.7, and it reaches 1 for k = (1 - b) / 1."""
    images = even_errors()[:1]
    values = script.statistics(script.build_masks(images, 0.2, 0.5)['error_norm: none'], images)
    expected = {'mask_mean': 0.7, 'mask_std': 0, 'mask_at_0': 0, 'mask_at_1': 0, 'darker': 0.3, 'k_for_10_percent': 0.5}
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-3)
    # through the mask: the sum of the channels times 2 k s^2 e / 3, over the mask
    via_mask = 3 * (0.5 + 1 / 255) * 2 * 0.2 * 255 / 3 / 0.7
    assert values['via_mask'] == pytest.approx(via_mask, rel=1e-3)
