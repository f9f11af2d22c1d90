"""The mask against its equation in NumPy and its limit cases."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from torch import Tensor


def make(**kwargs):
    return build_loss({'type': 'ErrorMask', **kwargs})


def images(size: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(2, 3, size, size, generator=generator)
    return (gt + 0.02 * torch.randn(gt.shape, generator=generator)).clamp(0, 1), gt


def reference(
    sr: Tensor, gt: Tensor, k: float, b: float, scale: float, window: int, norm: bool = False, per_channel: bool = False
) -> np.ndarray:
    """Eq. 8 in float64, one window at a time."""
    error = ((sr.double().numpy() - gt.double().numpy()) * scale) ** 2
    if not per_channel:
        error = error.mean(axis=1, keepdims=True)
    border = window // 2
    padded = np.pad(error, ((0, 0), (0, 0), (border, border), (border, border)), mode='reflect')
    smooth = np.zeros_like(error)
    for y in range(error.shape[2]):
        for x in range(error.shape[3]):
            smooth[..., y, x] = padded[..., y : y + window, x : x + window].mean(axis=(2, 3))
    if norm:
        smooth /= smooth.mean()
    return np.clip(k * smooth + b, 0, 1)


@pytest.mark.parametrize('window', [1, 3, 7])
@pytest.mark.parametrize('norm', ['none', 'mean'])
@pytest.mark.parametrize('per_channel', [False, True])
def test_equals_the_equation(window, norm, per_channel):
    sr, gt = images()
    scale = 20.0  # leaves part of the mask unsaturated
    mask = make(error_scale=scale, window=window, error_norm=norm, per_channel=per_channel).mask(sr, gt)
    expected = reference(sr, gt, 0.2, 0.5, scale, window, norm == 'mean', per_channel)
    assert (expected < 1).any()
    assert (expected > 0.5).any()
    np.testing.assert_allclose(mask.numpy(), expected, rtol=0, atol=2e-6)


def test_slope_zero_gives_b_everywhere():
    sr, gt = images()
    assert torch.equal(make(k=0.0, b=0.3).mask(sr, gt), torch.full((2, 1, 16, 16), 0.3))


def test_error_zero_gives_b_everywhere():
    _, gt = images()
    assert torch.equal(make(k=0.2, b=0.3).mask(gt, gt), torch.full((2, 1, 16, 16), 0.3))
    assert torch.equal(make(k=0.2, b=0.3, error_norm='mean').mask(gt, gt), torch.full((2, 1, 16, 16), 0.3))


def test_known_error_in_grey_levels():
    """An error of one grey level in all channels has E = 1: the mask is k + b."""
    gt = torch.full((1, 3, 8, 8), 0.5)
    mask = make().mask(gt + 1 / 255, gt)
    torch.testing.assert_close(mask, torch.full((1, 1, 8, 8), 0.7), rtol=0, atol=1e-4)
    assert torch.equal(make().mask(gt + 2 / 255, gt), torch.ones(1, 1, 8, 8))  # 4 * 0.2 + 0.5 is clipped


def test_unit_range_makes_the_mask_nearly_constant():
    """Why error_scale is 255: on [0, 1] a typical error leaves the mask at b."""
    sr, gt = images()
    assert (make(error_scale=1.0).mask(sr, gt) - 0.5).abs().max() < 1e-3
    assert make(error_scale=255.0).mask(sr, gt).mean() > 0.9


def test_normalised_mask_does_not_depend_on_the_error_scale():
    sr, gt = images()
    masks = [make(error_norm='mean', error_scale=scale).mask(sr, gt) for scale in (1.0, 255.0)]
    torch.testing.assert_close(*masks, rtol=1e-5, atol=1e-6)


def test_views_are_the_images_times_the_mask():
    sr, gt = images()
    mask = make()
    masked_sr, masked_gt = mask(sr, gt)
    assert torch.equal(masked_sr, sr * mask.last_mask)
    assert torch.equal(masked_gt, gt * mask.last_mask)
    masked_sr, untouched = make(apply_to='fake')(sr, gt)
    assert torch.equal(masked_sr, sr * mask.last_mask)
    assert untouched is gt


def test_detached_gradient_is_the_mask():
    """d(mask * sr)/d sr = mask: the adversarial gradient is weighted by region."""
    sr, gt = images()
    sr.requires_grad_()
    mask = make(error_scale=20.0)
    masked, masked_gt = mask(sr, gt)
    (gradient,) = torch.autograd.grad(masked.sum(), sr)
    assert torch.equal(gradient, mask.last_mask.expand_as(sr))
    assert not masked_gt.requires_grad


def test_attached_gradient_passes_through_the_mask():
    """Per pixel and unsaturated: d(m sr)/d sr_c = m + sr_sum * 2 k s^2 e_c / 3, checked against finite differences."""
    generator = torch.Generator().manual_seed(3)
    gt = torch.rand(1, 3, 4, 4, generator=generator, dtype=torch.float64).float()
    sr = (gt + 0.01 * torch.rand(gt.shape, generator=generator)).requires_grad_()
    mask = make(detach=False, window=1, error_scale=20.0)
    masked, _ = mask(sr, gt)
    (gradient,) = torch.autograd.grad(masked.sum(), sr)
    error = sr.detach() - gt
    expected = mask.last_mask + sr.detach().sum(1, keepdim=True) * 2 * 0.2 * 20.0**2 * error / 3
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    assert (gradient - mask.last_mask).abs().max() > 0.1


def test_statistics_count_the_saturated_shares():
    gt = torch.full((1, 3, 4, 4), 0.5)
    sr = gt.clone()
    sr[..., :1, :] += 0.1  # a quarter is wrong
    mask = make(b=0.0, window=1)
    mask(sr, gt)
    values = {name: value.item() for name, value in mask.statistics().items()}
    assert values == {'mask_mean': 0.25, 'mask_at_0': 0.75, 'mask_at_1': 0.25}
    assert make().statistics() == {}


def test_half_precision_images_give_the_float_mask():
    sr, gt = images()
    sr, gt = sr.half(), gt.half()
    assert torch.equal(make().mask(sr, gt), make().mask(sr.float(), gt.float()))


@pytest.mark.parametrize(
    ('option', 'value'), [('window', 4), ('window', 0), ('error_norm', 'max'), ('apply_to', 'real')]
)
def test_unknown_readings_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        make(**{option: value})


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match='window 7'):
        make().mask(torch.zeros(1, 3, 3, 3), torch.zeros(1, 3, 3, 3))
