"""Our step computes what BasicSR's does: same networks, seeds and batches, five iterations."""

import pytest
import torch
from recipes import FEATURE, PIXEL, batches, build, options, run

OBJECTIVES = {
    'SRGANModel': {'type': 'AdversarialLoss', 'gan_type': 'vanilla', 'loss_weight': 5e-3},
    'ESRGANModel': {'type': 'RelativisticAdversarialLoss', 'gan_type': 'vanilla', 'loss_weight': 5e-3},
}
BASICSR_GAN = {
    'type': 'GANLoss',
    'gan_type': 'vanilla',
    'real_label_val': 1.0,
    'fake_label_val': 0.0,
    'loss_weight': 5e-3,
}


def pair(basicsr_type: str, **kwargs):
    """BasicSR's model and ours with equal weights."""
    losses = {'pixel_opt': PIXEL, 'perceptual_opt': FEATURE, 'ema_decay': 0.9}
    theirs = build(options(basicsr_type, gan_opt=BASICSR_GAN, **losses, **kwargs))
    ours = build(options('GANSRModel', gan_opt=OBJECTIVES[basicsr_type], **losses, **kwargs))
    return theirs, ours


def assert_equal_parameters(net, other) -> None:
    for (name, parameter), expected in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter, expected), name


@pytest.mark.parametrize('generator', ['MSRResNet', 'RRDBNet'])
@pytest.mark.parametrize('basicsr_type', ['SRGANModel', 'ESRGANModel'])
def test_five_iterations_are_bit_identical_with_batchnorm(basicsr_type, generator):
    theirs, ours = pair(basicsr_type, generator=generator)
    data = batches(5, size=1)
    expected, got = run(theirs, data), run(ours, data)
    for step, (expected_log, log) in enumerate(zip(expected, got, strict=True)):
        assert {name: log[name] for name in expected_log} == expected_log, f'iteration {step + 1}'
    assert_equal_parameters(ours.net_g, theirs.net_g)
    assert_equal_parameters(ours.net_d, theirs.net_d)
    assert_equal_parameters(ours.net_g_ema, theirs.net_g_ema)


@pytest.mark.parametrize('basicsr_type', ['SRGANModel', 'ESRGANModel'])
def test_schedule_of_generator_updates_is_basicsrs(basicsr_type):
    theirs, ours = pair(basicsr_type, net_d_iters=2, net_d_init_iters=1)
    data = batches(5, size=1)
    run(theirs, data)
    run(ours, data)
    assert_equal_parameters(ours.net_g, theirs.net_g)
    assert_equal_parameters(ours.net_d, theirs.net_d)


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


def real_esrgan_pair(discriminator: str, sharpened: bool):
    """BasicSR's RealESRGANModel and ours on given pairs; sharpened for the content losses, as published, or not."""
    losses = {'pixel_opt': PIXEL, 'perceptual_opt': FEATURE, 'ema_decay': 0.9}
    theirs = options('RealESRGANModel', discriminator=discriminator, gan_opt=BASICSR_GAN, **losses)
    theirs |= {'high_order_degradation': False, 'l1_gt_usm': sharpened, 'percep_gt_usm': sharpened, 'gan_gt_usm': False}
    ours = options('GANSRModel', discriminator=discriminator, gan_opt=OBJECTIVES['SRGANModel'], **losses)
    ours['degrade'] = {'type': 'Pairs', 'gt_usm': sharpened}
    return build(theirs), build(ours)


@pytest.mark.parametrize('sharpened', [True, False])
def test_real_esrgans_step_on_given_pairs_is_bit_identical(sharpened):
    theirs, ours = real_esrgan_pair('VGGStyleDiscriminator', sharpened)
    data = [{**batch, 'lq': (batch['lq'] * 255).round() / 255} for batch in batches(3, size=1)]
    for expected, got in zip(run(theirs, data), run(ours, data), strict=True):
        assert {name: got[name] for name in expected} == expected
    assert_equal_parameters(ours.net_g, theirs.net_g)
    assert_equal_parameters(ours.net_d, theirs.net_d)
    assert_equal_parameters(ours.net_g_ema, theirs.net_g_ema)


def test_real_esrgans_step_with_its_own_discriminator_agrees_to_rounding():
    """Spectral norm frozen, see above."""
    theirs, ours = real_esrgan_pair('UNetDiscriminatorSN', True)
    theirs.net_d.eval()
    ours.net_d.eval()
    data = [{**batch, 'lq': (batch['lq'] * 255).round() / 255} for batch in batches(3, gt_size=64)]
    for expected, got in zip(run(theirs, data), run(ours, data), strict=True):
        assert got == pytest.approx(expected, rel=1e-4)


def test_pixel_training_is_bit_identical_to_srmodel():
    losses = {'pixel_opt': PIXEL, 'perceptual_opt': FEATURE, 'ema_decay': 0.9}
    theirs = build(options('SRModel', discriminator=None, **losses))
    ours = build(options('ExtSRModel', discriminator=None, **losses))
    data = batches(5, gt_size=32)
    assert run(theirs, data) == run(ours, data)
    assert_equal_parameters(ours.net_g, theirs.net_g)
    assert_equal_parameters(ours.net_g_ema, theirs.net_g_ema)
