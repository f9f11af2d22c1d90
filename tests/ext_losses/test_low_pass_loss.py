"""LowPassL1Loss against SciPy's valid convolutions, and what it does not see."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from scipy import signal
from torch import Tensor

from ext_losses.frequency import gaussian_kernel


def photograph(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(('filter', 'size', 'sigma'), [('average', 5, 2.0), ('average', 9, 2.0), ('gaussian', 7, 1.5)])
def test_equals_scipys_valid_convolution(filter, size, sigma):
    x, y = photograph(2, 3, 16, 11), photograph(2, 3, 16, 11, seed=1)
    loss = build_loss(
        {'type': 'LowPassL1Loss', 'loss_weight': 0.3, 'filter': filter, 'kernel_size': size, 'sigma': sigma}
    )
    line = np.full(size, 1 / size) if filter == 'average' else gaussian_kernel(size, sigma).numpy()
    filtered = signal.convolve((x - y).numpy(), np.outer(line, line)[None, None], mode='valid')
    assert filtered.shape[-2:] == (17 - size, 12 - size)
    assert loss(x, y).item() == pytest.approx(0.3 * np.abs(filtered).mean(), rel=1e-6)


def test_default_is_the_average_of_5_x_5_of_which_the_smallest_image_is_one_mean():
    x, y = photograph(1, 1, 5, 5), photograph(1, 1, 5, 5, seed=1)
    assert build_loss({'type': 'LowPassL1Loss'})(x, y).item() == pytest.approx(abs((x - y).mean().item()), rel=1e-6)
    with pytest.raises(ValueError, match=r'5 x 4 px are smaller than kernel_size 5'):
        build_loss({'type': 'LowPassL1Loss'})(x[..., :4], y[..., :4])


def test_gradient():
    loss = build_loss({'type': 'LowPassL1Loss', 'kernel_size': 3})
    x, y = photograph(1, 2, 5, 6).requires_grad_(), photograph(1, 2, 5, 6, seed=1)
    assert torch.autograd.gradcheck(loss, (x, y))


def test_half_precision_is_computed_in_float32():
    x, y = photograph(1, 3, 16, 16).half(), photograph(1, 3, 16, 16, seed=1).half()
    loss = build_loss({'type': 'LowPassL1Loss'})
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(loss(x, y), loss(x.float(), y.float()))


@pytest.mark.parametrize(('option', 'value'), [('filter', 'haar'), ('kernel_size', 4), ('sigma', 0.0)])
def test_unusable_options_are_refused(option, value):
    with pytest.raises(ValueError, match=f'{option} must be .*, but is .*{value}'):
        build_loss({'type': 'LowPassL1Loss', option: value})
