"""The generator alone first, losses of the image alone, and layers that keep their initial weights."""

import pytest
import torch
from recipes import PIXEL, batches, build, options, run

MSE = {'type': 'MSELoss', 'loss_weight': 1.0, 'reduction': 'mean'}
GAN = {'type': 'RelativisticAdversarialLoss', 'loss_weight': 5e-3}
EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2}


def state(net) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def assert_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


# ---------------------------------------------------------------------- phases
def test_first_phase_is_a_psnr_training_and_leaves_the_discriminator_alone():
    model = build(options('GANSRModel', gan_opt=GAN, pixel_opt=PIXEL, pretrain_iters=2, pretrain_opt=MSE))
    reference = build(options('ExtSRModel', discriminator=None, pixel_opt=MSE))
    data = batches(3)
    before = state(model.net_d)
    logs, expected = run(model, data[:2]), run(reference, data[:2])
    assert [log.keys() for log in logs] == [{'l_g_pretrain'}] * 2
    assert [log['l_g_pretrain'] for log in logs] == [log['l_pix'] for log in expected]
    assert_equal(state(model.net_g), state(reference.net_g))
    assert_equal(state(model.net_d), before)

    log = run(model, data[2:], start=3)[0]
    assert {'l_g_pix', 'l_g_gan', 'l_d_real', 'l_d_fake'} < log.keys()
    assert 'l_g_pretrain' not in log
    assert not torch.equal(model.net_d.state_dict()['conv0_0.weight'], before['conv0_0.weight'])


@pytest.mark.parametrize('train', [{'pretrain_iters': 2}, {'pretrain_opt': MSE}])
def test_length_and_loss_of_the_first_phase_belong_together(train):
    with pytest.raises(ValueError, match='pretrain_iters and pretrain_opt'):
        build(options('GANSRModel', gan_opt=GAN, pixel_opt=PIXEL, **train))


def test_no_first_phase_where_both_are_switched_off():
    model = build(options('GANSRModel', gan_opt=GAN, pixel_opt=PIXEL, pretrain_iters=None, pretrain_opt=None))
    assert 'l_g_gan' in run(model, batches(1))[0]


# ---------------------------------------------------------------------- total variation
@pytest.mark.parametrize('model_type', ['ExtSRModel', 'GANSRModel'])
def test_total_variation_is_a_loss_of_the_image_alone(model_type):
    """PESR's term: the sum of absolute differences of neighbours, by BasicSR's loss."""
    more = {'gan_opt': GAN} if model_type == 'GANSRModel' else {'discriminator': None}
    tv = {'type': 'WeightedTVLoss', 'loss_weight': 1e-6, 'reduction': 'sum'}
    model = build(options(model_type, pixel_opt=PIXEL, tv_opt=tv, **more))
    log = run(model, batches(1))[0]
    sr = model.output.double()
    expected = 1e-6 * (sr.diff(dim=2).abs().sum() + sr.diff(dim=3).abs().sum())
    assert log[f'{model.LOSS_PREFIX}tv'] == pytest.approx(expected.item(), rel=1e-5)


# ---------------------------------------------------------------------- from scale 2 to scale 4
@pytest.fixture
def scale_2(tmp_path):
    torch.manual_seed(5)
    file = tmp_path / 'x2.pth'
    from basicsr.archs import build_network

    net = build_network({**EDSR, 'upscale': 2})
    torch.save({'params': net.state_dict()}, file)
    return file, net.state_dict()


def scale_4(file, layers, **train):
    opt = options('ExtSRModel', discriminator=None, pixel_opt=PIXEL, **train)
    opt['network_g'] = {**EDSR, 'upscale': 4}
    opt['path'] = {'pretrain_network_g': str(file), 'strict_load_g': True, 'strict_load_g_except': layers}
    return opt


def test_scale_4_takes_all_layers_but_the_upsampler(scale_2, caplog):
    file, weights = scale_2
    opt = scale_4(file, ['upsample'], ema_decay=0.9)
    with caplog.at_level('INFO', logger='basicsr'):
        model = build(opt)
    loaded = state(model.net_g)
    initial = state(build({**opt, 'path': {}}).net_g)
    for name, value in loaded.items():
        assert torch.equal(value, initial[name] if name.startswith('upsample.') else weights[name]), name
    assert_equal(state(model.net_g_ema), loaded)
    assert 'conv_first, body, conv_after_body, conv_last' in caplog.text
    assert 'initial weights (strict_load_g_except): upsample' in caplog.text


def test_other_layers_are_still_compared(scale_2):
    file, _ = scale_2
    opt = scale_4(file, ['upsample'])
    opt['network_g'] |= {'num_block': 3}
    with pytest.raises(ValueError, match=r'missing in the file: body\.2'):
        build(opt)


def test_unknown_layers_are_named(scale_2):
    with pytest.raises(ValueError, match=r"strict_load_g_except: EDSR has no layer 'tail'.*upsample"):
        build(scale_4(scale_2[0], ['tail']))
    with pytest.raises(ValueError, match='must be a list of layers'):
        build(scale_4(scale_2[0], 'upsample'))
