"""The mask against its equation in NumPy, and its limit cases."""

import itertools

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from torch import Tensor


def make(**kwargs):
    return build_loss({'type': 'ErrorMask', 'error_norm': 'none', **kwargs})


def images(size: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(2, 3, size, size, generator=generator)
    return (gt + 0.02 * torch.randn(gt.shape, generator=generator)).clamp(0, 1), gt


def reference(
    sr: Tensor,
    gt: Tensor,
    scale: float,
    window: int,
    measure: str = 'mse',
    norm: str = 'none',
    per_channel: bool = False,
) -> np.ndarray:
    """Eq. 8 with k = 0.2 and b = 0.5 in float64, one window at a time."""
    error = ((sr.double().numpy() - gt.double().numpy()) * scale) ** 2
    if not per_channel:
        error = error.mean(axis=1, keepdims=True)
    border = window // 2
    padded = np.pad(error, ((0, 0), (0, 0), (border, border), (border, border)), mode='reflect')
    smooth = np.zeros_like(error)
    for y in range(error.shape[2]):
        for x in range(error.shape[3]):
            smooth[..., y, x] = padded[..., y : y + window, x : x + window].mean(axis=(2, 3))
    if measure == 'rmse':
        smooth = np.sqrt(smooth)
    if norm == 'mean':
        smooth /= smooth.mean()
    if norm == 'image_mean':
        smooth = np.stack([image / image.mean() for image in smooth])
    return np.clip(0.2 * smooth + 0.5, 0, 1)


@pytest.mark.parametrize('window', [1, 7, 15])
@pytest.mark.parametrize('measure', ['mse', 'rmse'])
@pytest.mark.parametrize('norm', ['none', 'mean', 'image_mean'])
@pytest.mark.parametrize('per_channel', [False, True])
def test_equals_the_equation(window, measure, norm, per_channel):
    sr, gt = images()
    sr[0] = gt[0] + 3 * (sr[0] - gt[0])  # errors of the two images differ, so do their means
    scale = 20.0  # leaves part of the mask unsaturated
    mask = make(error_scale=scale, error_measure=measure, error_norm=norm, window=window, per_channel=per_channel)
    expected = reference(sr, gt, scale, window, measure, norm, per_channel)
    assert (expected < 1).any()
    assert (expected > 0.5).any()
    np.testing.assert_allclose(mask.mask(sr, gt).numpy(), expected, rtol=0, atol=3e-6)


def test_error_zero_gives_b_everywhere():
    _, gt = images()
    for measure, norm in itertools.product(('mse', 'rmse'), ('none', 'mean', 'image_mean')):
        mask = make(k=0.2, b=0.3, error_measure=measure, error_norm=norm).mask(gt, gt)
        assert torch.equal(mask, torch.full((2, 1, 16, 16), 0.3)), (measure, norm)


@pytest.mark.parametrize(('k', 'b', 'limit'), [(0.2, 1.5, 1.0), (1e9, 0.5, 1.0), (0.2, -1e9, 0.0), (-1e9, 0.5, 0.0)])
def test_mask_is_clipped_to_0_and_1(k, b, limit):
    gt = torch.full((1, 3, 8, 8), 0.5)
    assert torch.equal(make(k=k, b=b).mask(gt + 0.1, gt), torch.full((1, 1, 8, 8), limit))


@pytest.mark.parametrize(
    ('measure', 'levels', 'value'),
    [('mse', 1, 0.7), ('mse', -1, 0.7), ('mse', 2, 1.0), ('rmse', 1, 0.7), ('rmse', -2, 0.9), ('rmse', 2.51, 1.0)],
)
def test_known_error_in_grey_levels(measure, levels, value):
    """An error of one grey level in all channels has E = 1: the mask is k + b. With error_measure rmse, it is 1 from
    (1 - b) / k = 2.5 levels on."""
    gt = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)
    mask = make(error_measure=measure).mask(gt + levels / 255, gt)
    torch.testing.assert_close(mask, torch.full_like(mask, value), rtol=0, atol=1e-12)


def test_the_error_is_relative_to_that_of_the_image_unless_said_otherwise():
    sr, gt = images()
    assert torch.equal(build_loss({'type': 'ErrorMask'}).mask(sr, gt), make(error_norm='image_mean').mask(sr, gt))


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


@pytest.mark.parametrize(('measure', 'scale'), [('mse', 60.0), ('rmse', 130.0)])
@pytest.mark.parametrize('window', [1, 3])
@pytest.mark.parametrize('per_channel', [False, True])
def test_attached_gradient_equals_finite_differences(measure, scale, window, per_channel):
    sr, gt = (value.double()[..., :4, :4] for value in images())
    sr.requires_grad_()
    mask = make(detach=False, error_measure=measure, window=window, per_channel=per_channel, error_scale=scale)
    assert torch.autograd.gradcheck(lambda x: mask(x, gt), sr)
    assert 0 < mask.statistics()['mask_at_1'] < 1  # both sides of the clip


@pytest.mark.parametrize(('measure', 'power'), [('mse', 2), ('rmse', 1)])
def test_attached_gradient_does_not_pass_through_the_mean(measure, power):
    """Dividing by a detached mean is a change of the error's scale."""
    sr, gt = (value.double() for value in images())
    sr.requires_grad_()
    options = {'detach': False, 'error_measure': measure}
    mean = make(**options, error_scale=1.0).error_map(sr, gt).mean().item()
    gradients = [
        torch.autograd.grad(make(**options, **scaling)(sr, gt)[0].sum(), sr)[0]
        for scaling in ({'error_norm': 'mean'}, {'error_scale': mean ** (-1 / power)})
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('norm', ['none', 'mean', 'image_mean'])
@pytest.mark.parametrize('measure', ['mse', 'rmse'])
def test_attached_gradient_is_b_where_there_is_no_error(norm, measure):
    """The root has no slope at 0; it must not make the gradient NaN."""
    _, gt = images()
    sr = gt.clone().requires_grad_()
    masked, _ = make(b=0.25, detach=False, error_norm=norm, error_measure=measure)(sr, gt)
    (gradient,) = torch.autograd.grad(masked.sum(), sr)
    assert torch.equal(gradient, torch.full_like(gt, 0.25))


def test_statistics_count_the_saturated_shares():
    gt = torch.full((1, 3, 4, 4), 0.5)
    wanted = torch.tensor([0.0, 0.05, 0.95, 2.0])  # the mask of each row, before it is clipped
    sr = gt + (wanted / 0.2).sqrt()[:, None] / 255
    mask = make(b=0.0, window=1)
    mask(sr, gt)
    values = {name: value.item() for name, value in mask.statistics().items()}
    assert values == {'mask_mean': pytest.approx(0.5, abs=1e-3), 'mask_at_0': 0.25, 'mask_at_1': 0.25}
    assert make().statistics() == {}


def test_half_precision_images_give_the_float_mask():
    sr, gt = images()
    sr, gt = sr.half(), gt.half()
    assert torch.equal(make().mask(sr, gt), make().mask(sr.float(), gt.float()))


@pytest.mark.parametrize(
    ('measure', 'norm', 'value'),
    [('mse', 'none', 0.25), ('rmse', 'none', 0.25), ('mse', 'mean', 0.5), ('rmse', 'image_mean', 0.5)],
)
def test_error_panel_shows_the_root_mean_square(measure, norm, value):
    """An even error of 8 levels: a quarter of 32 levels, half of twice the mean."""
    gt = torch.full((1, 3, 8, 8), 0.5)
    mask = make(error_measure=measure, error_norm=norm)
    assert mask.panels() == {}
    mask(gt + 8 / 255, gt)
    panels = mask.panels()
    torch.testing.assert_close(panels['error'], torch.full((1, 1, 8, 8), value), rtol=0, atol=1e-4)
    assert torch.equal(panels['mask'], mask.last_mask)


@pytest.mark.parametrize(
    ('option', 'value'),
    [('window', 4), ('window', 0), ('error_measure', 'l1'), ('error_norm', 'max'), ('apply_to', 'real')],
)
def test_unknown_readings_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        make(**{option: value})


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match='window 7'):
        make().mask(torch.zeros(1, 3, 3, 3), torch.zeros(1, 3, 3, 3))
