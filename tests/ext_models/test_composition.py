"""Every adversarial objective with every order of views: the step trains, and the discriminator sees what it should."""

from unittest import mock

import numpy as np
import pytest
import tiny_energy  # noqa: F401, registers TinyEnergy
import torch
from recipes import FEATURE, PIXEL, batches, build, options, run
from scipy import ndimage
from torch import Tensor

OBJECTIVES = ['AdversarialLoss', 'RelativisticAdversarialLoss', 'FocalRelativisticAdversarialLoss', 'EnergyGANLoss']
# on random images part of it is saturated
MASK = {'type': 'ErrorMask', 'error_norm': 'none', 'error_scale': 1.5, 'window': 3}
OUTPUT_BIAS = {'conv9.bias'}  # of the discriminator: differences of logits do not see it
UNIT_MASK = {'type': 'ErrorMask', 'k': 0.0, 'b': 1.0}
HIGH_PASS = {'type': 'HighPassView', 'kernel_size': 5, 'sigma': 0.83}
VIEWS = {
    'mask': {'mask_opt': MASK},
    'mask, high-pass': {'mask_opt': MASK, 'highpass_opt': HIGH_PASS},
    'high-pass, mask': {'highpass_opt': HIGH_PASS, 'mask_opt': MASK},
}


def gan(objective: str, **train):
    """A small GAN whose discriminator suits the objective; with a mask, of the class that insists on it."""
    opt = options(
        'MaskGANModel' if 'mask_opt' in train else 'GANSRModel',
        discriminator='UNetDiscriminatorSN',
        gan_opt={'type': objective, 'loss_weight': 0.1},
        pixel_opt=PIXEL,
        **train,
    )
    if objective == 'EnergyGANLoss':
        opt['network_d'] = {'type': 'TinyEnergy'}
    return build(opt)


def parameters(model, network: str) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in getattr(model, network).parameters()]


def watch(model) -> list[Tensor]:
    """What the discriminator is called with from now on."""
    seen: list[Tensor] = []
    model.net_d.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().clone()))
    return seen


@pytest.mark.parametrize('amp', [None, 'bf16'])
@pytest.mark.parametrize('views', list(VIEWS))
@pytest.mark.parametrize('objective', OBJECTIVES)
def test_both_networks_train(objective, views, amp):
    """The generator by the adversarial gradient alone, which passes through the views."""
    model = gan(objective, amp=amp, **VIEWS[views])
    model.cri_pix.loss_weight = 0.0
    before = {network: parameters(model, network) for network in ('net_g', 'net_d')}
    log = run(model, batches(2, gt_size=64))[-1]
    assert all(np.isfinite(value) for value in log.values()), log
    for network, old in before.items():
        new = parameters(model, network)
        assert all(parameter.isfinite().all() for parameter in new), network
        names = [name for name, _ in getattr(model, network).named_parameters()]
        unchanged = {name for name, a, b in zip(names, old, new, strict=True) if torch.equal(a, b)}
        assert unchanged <= (OUTPUT_BIAS if 'Relativistic' in objective else set()), network
    assert {'mask_mean', 'l_g_gan'} <= log.keys()
    assert ('highpass_sr_std' in log) == ('high-pass' in views)


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_step_does_not_wait_for_the_device(objective):
    plain = {'type': 'SGD', 'lr': 1e-3}  # on the CPU, Adam reads its own step counter
    more = {'perceptual_opt': FEATURE, 'ema_decay': 0.9, 'grad_clip': {'type': 'norm', 'max': 1.0}}
    model = gan(objective, optim_g=plain, optim_d=plain, **more, **VIEWS['mask, high-pass'])
    model.feed_data(batches(1, gt_size=64)[0])
    error = AssertionError('a synchronisation in the step')
    waiting = ('item', 'tolist', 'cpu', 'numpy', '__bool__', '__float__')
    with mock.patch.multiple(Tensor, **{name: mock.Mock(side_effect=error) for name in waiting}):
        model.optimize_parameters(1)
    assert model.get_current_log()['l_g_gan'] != 0


def masked(sr: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 8 of the mask with SciPy."""
    error = ((MASK['error_scale'] * (sr - gt)) ** 2).mean(axis=1, keepdims=True)
    window = MASK['window']
    mask = np.clip(0.2 * ndimage.uniform_filter(error, (0, 0, window, window), mode='mirror') + 0.5, 0, 1)
    return sr * mask, gt * mask


def high_passed(sr: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x - G x with SciPy."""
    sigma, radius = HIGH_PASS['sigma'], HIGH_PASS['kernel_size'] // 2
    smooth = (
        ndimage.gaussian_filter(x, (0, 0, sigma, sigma), mode='mirror', radius=(0, 0, radius, radius)) for x in (sr, gt)
    )
    return tuple(x - low for x, low in zip((sr, gt), smooth, strict=True))


STEPS = {'mask': [masked], 'mask, high-pass': [masked, high_passed], 'high-pass, mask': [high_passed, masked]}


@pytest.mark.parametrize('amp', [None, 'bf16'])
@pytest.mark.parametrize('views', list(VIEWS))
def test_discriminator_sees_the_views_in_the_order_of_the_options(views, amp):
    model = gan('RelativisticAdversarialLoss', amp=amp, **VIEWS[views])
    seen = watch(model)
    (batch,) = batches(1, gt_size=64)
    run(model, [batch])
    sr, gt = model.output.double().numpy(), batch['gt'].double().numpy()
    for step in STEPS[views]:
        sr, gt = step(sr, gt)
    assert len(seen) == 2  # the real images pass first
    for got, expected in zip(seen, (gt, sr), strict=True):
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize('amp', [None, 'bf16'])
@pytest.mark.parametrize('others', [{}, {'highpass_opt': HIGH_PASS}], ids=['alone', 'high-pass'])
@pytest.mark.parametrize('objective', OBJECTIVES)
def test_mask_of_one_changes_no_bit(objective, others, amp):
    base = gan(objective, amp=amp, **others)
    before = gan(objective, amp=amp, mask_opt=UNIT_MASK, **others)
    after = gan(objective, amp=amp, **others, mask_opt=UNIT_MASK)
    data = batches(3, gt_size=64)
    expected = run(base, data)
    for model in (before, after) if others else (before,):
        got = run(model, data)
        assert [{name: log[name] for name in expected[0]} for log in got] == expected
        for network in ('net_g', 'net_d'):
            for a, b in zip(parameters(base, network), parameters(model, network), strict=True):
                assert torch.equal(a, b)
