"""Stage 2: what the discriminator sees, LR images made during training, and the ablation switches."""

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from recipes import PIXEL, batches, build, options, run

from ext_arch.resize import bicubic_downscale
from ext_losses.frequency import HighPass
from ext_models.degrading import low_resolution

FREQUENCY = {'type': 'FrequencyGANLoss'}
DEGRADER = {'type': 'DegradationNet', 'num_feat': 4, 'scale': 4}


class HalvesBicubic(torch.nn.Module):
    """A degradation network that gets the bicubic LR image."""

    INPUT = 'lq'

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.factor * x


class HalvesAll(torch.nn.Module):
    """A degradation network of scale 2."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.factor * x[..., ::2, ::2]


for network in (HalvesBicubic, HalvesAll):
    if network.__name__ not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(network)


def adaptation_options(gan_opt: dict = FREQUENCY, **train) -> dict:
    return options('DomainAdaptationSRModel', gan_opt=gan_opt, pixel_opt=PIXEL, **train)


def weights(net: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


@pytest.fixture
def degrading(tmp_path) -> dict:
    """Options with a degradation network whose file has EMA weights beside others."""
    torch.manual_seed(5)
    file = tmp_path / 'net_g_latest.pth'
    one, other = (build_network(DEGRADER).state_dict() for _ in range(2))
    torch.save({'params': other, 'params_ema': one}, file)
    opt = adaptation_options()
    opt['network_degrade'] = dict(DEGRADER)
    opt['path'] = {'pretrain_network_degrade': str(file), 'ignore_resume_networks': ['network_degrade']}
    return opt


# ---------------------------------------------------------------------- the frequency loss


@pytest.mark.parametrize('plain', [False, True])
def test_equals_the_view_and_the_plain_objective_bit_for_bit(plain):
    """And, without the frequency loss, the plain GAN."""
    data, adversarial = batches(2), {'type': 'AdversarialLoss', 'loss_weight': 5e-3}
    frequency = {'type': 'FrequencyGANLoss', 'loss_weight': 5e-3, 'kernel_size': 7, 'sigma': 1.0}
    view = {'type': 'HighPassView', 'kernel_size': 7, 'sigma': 1.0}
    one = build(adaptation_options(adversarial if plain else frequency))
    views = {} if plain else {'highpass_opt': view}
    two = build(options('GANSRModel', gan_opt=adversarial, pixel_opt=PIXEL, **views))
    assert run(one, data) == run(two, data)
    assert all(torch.equal(a, b) for a, b in zip(weights(one.net_g), weights(two.net_g), strict=True))


def test_composes_with_the_mask_which_comes_first():
    model = build(adaptation_options(mask_opt={'type': 'ErrorMask', 'k': 0.0, 'b': 0.5}))
    sr, gt = torch.rand(2, 2, 3, 32, 32).unbind(0)
    fake, real = model.discriminator_views(sr, gt)
    torch.testing.assert_close(fake, HighPass()(0.5 * sr))
    torch.testing.assert_close(real, HighPass()(0.5 * gt))


def test_filtering_twice_is_refused():
    with pytest.raises(ValueError, match='FrequencyGANLoss of train:gan_opt filters the images already'):
        build(adaptation_options(highpass_opt={'type': 'HighPassView'}))


def test_ablation_without_a_discriminator_leaves_the_content_losses():
    data = batches(2)
    opt = adaptation_options(None)
    missing = 'train:gan_opt is missing: network_d and train:optim_d cannot be used without it'
    with pytest.raises(ValueError, match=missing):
        build(opt)
    opt['train']['optim_d'] = opt['network_d'] = None
    without = build(opt)
    content = build(options('ExtSRModel', discriminator=None, pixel_opt=PIXEL))
    logs = [{name.replace('l_g_', 'l_'): value for name, value in log.items()} for log in run(without, data)]
    assert logs == run(content, data)
    assert all(torch.equal(a, b) for a, b in zip(weights(without.net_g), weights(content.net_g), strict=True))


# ---------------------------------------------------------------------- LR images made during training
def test_made_images_are_those_of_the_written_pairs(degrading):
    """Training on gt alone equals training on pairs that were degraded beforehand."""
    model = build(degrading)
    reference = build_network(DEGRADER)
    reference.load_state_dict(torch.load(degrading['path']['pretrain_network_degrade'])['params_ema'])
    gt = [batch['gt'] for batch in batches(2)]
    pairs = [{'lq': low_resolution(reference, image, 4), 'gt': image} for image in gt]
    levels = pairs[0]['lq'] * 255
    assert torch.equal(levels, levels.round())
    assert 0 <= levels.min() < levels.max() <= 255

    plain = build(adaptation_options())
    logs = run(model, [{'gt': image} for image in gt])
    assert torch.equal(model.lq, pairs[1]['lq'])
    assert logs == run(plain, pairs)
    assert all(torch.equal(a, b) for a, b in zip(weights(model.net_g), weights(plain.net_g), strict=True))


def test_a_crop_equals_the_crop_of_the_written_image_inside(degrading):
    model = build(degrading)
    image = torch.rand(1, 3, 96, 96)
    crop = low_resolution(model.net_degrade, image[..., 16:80, 16:80], 4)
    whole = low_resolution(model.net_degrade, image, 4)[..., 4:20, 4:20]
    assert torch.equal(crop[..., 3:-3, 3:-3], whole[..., 3:-3, 3:-3])
    assert not torch.equal(crop, whole)


def test_degrader_is_frozen_and_not_saved(degrading, tmp_path):
    degrading['path'] |= {'models': str(tmp_path / 'models'), 'training_states': str(tmp_path / 'states')}
    (tmp_path / 'models').mkdir()
    (tmp_path / 'states').mkdir()
    model = build(degrading)
    before = weights(model.net_degrade)
    run(model, batches(2))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model.net_degrade), strict=True))
    assert all(parameter.grad is None for parameter in model.net_degrade.parameters())
    owned = {id(parameter) for parameter in model.net_degrade.parameters()}
    groups = [group for optimizer in model.optimizers for group in optimizer.param_groups]
    assert not owned & {id(parameter) for group in groups for parameter in group['params']}
    assert not model.net_degrade.training
    model.save(0, 2)
    assert sorted(path.name for path in (tmp_path / 'models').iterdir()) == ['net_d_2.pth', 'net_g_2.pth']


def test_networks_at_lr_size_get_the_bicubic_image(degrading, tmp_path):
    torch.save({'params': HalvesBicubic().state_dict()}, tmp_path / 'half.pth')
    degrading['network_degrade'] = {'type': 'HalvesBicubic'}
    degrading['path']['pretrain_network_degrade'] = str(tmp_path / 'half.pth')
    gt = torch.rand(1, 3, 64, 64)
    expected = (bicubic_downscale(gt, 4) * 0.5).clamp(0, 1).mul(255).round() / 255
    assert torch.equal(build(degrading).degrader(gt, None, None)[0], expected)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('pretrain_network_degrade', None, 'pretrain_network_degrade is missing'),
        ('ignore_resume_networks', None, r'must be \[network_degrade\]'),
        ('param_key_degrade', 'params', 'param_key_degrade: remove it'),
    ],
)
def test_paths_that_would_go_wrong_later_are_refused(degrading, key, value, message):
    degrading['path'][key] = value
    with pytest.raises(ValueError, match=message):
        build(degrading)


def test_degrader_of_another_scale_is_refused(degrading, tmp_path):
    degrading['network_degrade']['scale'] = 2
    with pytest.raises(ValueError, match='network_degrade:scale is 2, but scale is 4'):
        build(degrading)
    torch.save({'params': HalvesAll().state_dict()}, tmp_path / 'halves.pth')
    degrading['network_degrade'] = {'type': 'HalvesAll'}  # one that does not say its scale
    degrading['path']['pretrain_network_degrade'] = str(tmp_path / 'halves.pth')
    with pytest.raises(ValueError, match=r'HalvesAll makes \(64, 64\) of \(128, 128\) .* scale 4 asks for \(32'):
        run(build(degrading), batches(1))
