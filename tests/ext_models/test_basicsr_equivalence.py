"""Our step computes what BasicSR's does: same networks, seeds and batches."""

import pytest
import torch
from recipes import FEATURE, PIXEL, batches, build, options, run

OBJECTIVES = {
    'SRGANModel': {'type': 'AdversarialLoss', 'gan_type': 'vanilla', 'loss_weight': 5e-3},
    'ESRGANModel': {'type': 'RelativisticAdversarialLoss', 'gan_type': 'vanilla', 'loss_weight': 5e-3},
}
BASICSR_GAN = {'type': 'GANLoss', 'gan_type': 'vanilla', 'real_label_val': 1.0, 'fake_label_val': 0.0}
LOSSES = {'pixel_opt': PIXEL, 'perceptual_opt': FEATURE, 'ema_decay': 0.9}


def pair(basicsr_type: str, **kwargs):
    """BasicSR's model and ours with equal weights."""
    gan_opt = BASICSR_GAN | {'loss_weight': 5e-3}
    theirs = build(options(basicsr_type, gan_opt=gan_opt, **LOSSES, **kwargs))
    ours = build(options('GANSRModel', gan_opt=OBJECTIVES[basicsr_type], **LOSSES, **kwargs))
    return theirs, ours


def assert_bit_identical(theirs, ours, data: list[dict]) -> None:
    for step, (expected, log) in enumerate(zip(run(theirs, data), run(ours, data), strict=True), 1):
        assert {name: log[name] for name in expected} == expected, f'iteration {step}'
    for network in ('net_g', 'net_d', 'net_g_ema'):
        if hasattr(theirs, network):
            expected = dict(getattr(theirs, network).named_parameters())
            for name, parameter in getattr(ours, network).named_parameters():
                assert torch.equal(parameter, expected[name]), (network, name)


@pytest.mark.parametrize('basicsr_type', ['SRGANModel', 'ESRGANModel'])
@pytest.mark.parametrize(
    'kwargs', [{}, {'generator': 'RRDBNet'}, {'net_d_iters': 2, 'net_d_init_iters': 1}], ids=['', 'RRDB', 'schedule']
)
def test_five_iterations_are_bit_identical_with_batchnorm(basicsr_type, kwargs):
    assert_bit_identical(*pair(basicsr_type, **kwargs), batches(5, size=1))


def test_spectral_norm_differs_by_its_power_iteration_only():
    """Frozen (discriminator in evaluation mode), the losses agree to float32's rounding; running, five passes an
    iteration move it further than two, so only the first iteration's generator losses are the same."""
    theirs, ours = pair('ESRGANModel', discriminator='UNetDiscriminatorSN')
    theirs.net_d.eval()
    ours.net_d.eval()
    data = batches(5, gt_size=32)
    for expected, got in zip(run(theirs, data), run(ours, data), strict=True):
        assert got == pytest.approx(expected, rel=1e-4)

    theirs, ours = pair('ESRGANModel', discriminator='UNetDiscriminatorSN')
    expected, got = run(theirs, data[:1])[0], run(ours, data[:1])[0]
    assert got['l_g_gan'] == expected['l_g_gan']
    assert got['l_d_real'] != expected['l_d_real']


@pytest.mark.parametrize('sharpened', [True, False])
def test_real_esrgans_step_on_given_pairs_is_bit_identical(sharpened):
    """The ground truth is sharpened for the content losses, as published, or not."""
    theirs = options('RealESRGANModel', gan_opt=BASICSR_GAN | {'loss_weight': 5e-3}, **LOSSES)
    theirs |= {'high_order_degradation': False, 'l1_gt_usm': sharpened, 'percep_gt_usm': sharpened, 'gan_gt_usm': False}
    ours = options('GANSRModel', gan_opt=OBJECTIVES['SRGANModel'], **LOSSES)
    ours['degrade'] = {'type': 'Pairs', 'gt_usm': sharpened}
    data = [{**batch, 'lq': (batch['lq'] * 255).round() / 255} for batch in batches(3, size=1)]
    assert_bit_identical(build(theirs), build(ours), data)


def test_pixel_training_is_bit_identical_to_srmodel():
    theirs, ours = (build(options(kind, discriminator=None, **LOSSES)) for kind in ('SRModel', 'ExtSRModel'))
    assert_bit_identical(theirs, ours, batches(5, gt_size=32))
