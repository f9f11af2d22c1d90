"""Low-quality images made while training: BasicSR's, per sample, in every model, resumed exactly."""

import random

import numpy as np
import pytest
import tiny_energy  # noqa: F401  # registers the network
import torch
from basicsr.archs import build_network
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.utils import DiffJPEG, USMSharp, imwrite
from recipes import PIXEL, batches, build, options, run

from ext_arch.resize import bicubic_downscale
from ext_models.degradations import KERNEL_PROB, KERNELS, RealESRGANDegradation, build_degradation
from ext_models.degrader import Degrader
from ext_models.degrading import in_levels, low_resolution

REAL_ESRGAN = {'type': 'RealESRGANDegradation'}
GAN = {'gan_opt': {'type': 'AdversarialLoss', 'loss_weight': 5e-3}, 'pixel_opt': PIXEL}
PUBLISHED = {
    'resize_prob': [0.2, 0.7, 0.1], 'resize_range': [0.15, 1.5], 'gaussian_noise_prob': 0.5, 'noise_range': [1, 30],
    'poisson_scale_range': [0.05, 3], 'gray_noise_prob': 0.4, 'jpeg_range': [30, 95], 'second_blur_prob': 0.8,
    'resize_prob2': [0.3, 0.4, 0.3], 'resize_range2': [0.3, 1.2], 'gaussian_noise_prob2': 0.5, 'noise_range2': [1, 25],
    'poisson_scale_range2': [0.05, 2.5], 'gray_noise_prob2': 0.4, 'jpeg_range2': [30, 95], 'final_sinc_prob': 0.8,
    'blur_kernel_size': 21, 'kernel_list': KERNELS, 'kernel_prob': KERNEL_PROB, 'sinc_prob': 0.1,
    'blur_sigma': [0.2, 3], 'betag_range': [0.5, 4], 'betap_range': [1, 2], 'blur_kernel_size2': 21,
    'kernel_list2': KERNELS, 'kernel_prob2': KERNEL_PROB, 'sinc_prob2': 0.1, 'blur_sigma2': [0.2, 1.5],
    'betag_range2': [0.5, 4], 'betap_range2': [1, 2],
}  # fmt: skip


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    torch.manual_seed(number)


def degrader(degradation: dict = REAL_ESRGAN, **keys) -> Degrader:
    return Degrader(build_degradation(degradation, 4), 4, 0, torch.device('cpu'), **keys)


def hr_batches(count: int, **sizes) -> list[dict]:
    """Without LQ images, with the keys that our loader gives."""
    size = sizes.get('size', 2)
    return [
        {'gt': batch['gt'], 'sample_key': [f'0 {size * number + index}' for index in range(size)]}
        for number, batch in enumerate(batches(count, **sizes))
    ]


# ---------------------------------------------------------------------- BasicSR's images
class Fed(RealESRGANModel):
    """As much of BasicSR's model as makes LQ images."""

    def __init__(self):
        self.opt = {**PUBLISHED, 'scale': 4, 'gt_size': 128}
        self.is_train, self.device, self.queue_size = True, torch.device('cpu'), 180
        self.jpeger, self.usm_sharpener = DiffJPEG(differentiable=False), USMSharp()


def test_equals_basicsr_bit_for_bit(tmp_path):
    """BasicSR's dataset draws the kernels, its model the rest; ours draws the same in one module."""
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    imwrite(image, str(tmp_path / 'a.png'))
    (tmp_path / 'meta.txt').write_text('a.png\n')
    dataset = RealESRGANDataset(
        {**PUBLISHED, 'dataroot_gt': str(tmp_path), 'meta_info': str(tmp_path / 'meta.txt'), 'use_hflip': False,
         'use_rot': False, 'io_backend': {'type': 'disk'}}
    )  # fmt: skip
    stock, ours, sharpener = Fed(), RealESRGANDegradation(4), USMSharp()
    for number in range(12):  # both orders of JPEG and sinc, with and without second blur, every resizing and noise
        # BasicSR's model always makes them of the sharpened image
        stock.usm_sharpener = sharpener if number % 4 == 0 else torch.nn.Identity()
        seed(number)
        sample = dataset[0]
        gt = sample['gt'][None, :, :128, :128]
        kernels = {key: sample[key][None] for key in ('kernel1', 'kernel2', 'sinc_kernel')}
        stock.feed_data({'gt': gt, **kernels})
        seed(number)
        made = in_levels(ours(stock.usm_sharpener(gt)))
        assert torch.equal(made, stock.lq), number
        levels = made * 255
        assert torch.equal(levels, levels.round())


# ---------------------------------------------------------------------- each sample by itself
def test_a_sample_is_degraded_alike_in_any_batch():
    (batch,) = hr_batches(1, size=4)
    make, gt, keys = degrader(gt_size=64), batch['gt'], batch['sample_key']
    whole = make(gt, None, keys)
    torch.rand(7)
    halves = [make(gt[part], None, keys[part]) for part in (slice(2, 4), slice(0, 2))]
    for together, second, first in zip(whole, *halves, strict=True):
        assert torch.equal(together, torch.cat([first, second]))
    assert whole[0].shape == (4, 3, 16, 16)
    assert whole[1].shape == (4, 3, 64, 64)
    assert not torch.equal(whole[0], make(gt, None, ['1 0', '1 1', '1 2', '1 3'])[0])  # the next epoch


def test_it_leaves_the_generators_of_the_training_alone():
    (batch,) = hr_batches(1)
    seed(3)
    expected = random.random(), np.random.rand(), torch.rand(2)  # noqa: NPY002
    seed(3)
    degrader()(batch['gt'], None, batch['sample_key'])
    assert random.random() == expected[0]
    assert np.random.rand() == expected[1]  # noqa: NPY002
    assert torch.equal(torch.rand(2), expected[2])


def test_without_keys_the_generators_go_on():
    gt, make = torch.rand(1, 3, 128, 128), degrader()
    assert not torch.equal(make(gt, None, None)[0], make(gt, None, None)[0])


def test_crops_correspond():
    gt = torch.arange(128 * 128).view(1, 1, 128, 128).expand(2, 3, -1, -1) / 2**14
    mild = dict.fromkeys(('second_blur_prob', 'final_sinc_prob'), 0)
    quiet = {f'{key}{end}': [0, 0] for key in ('noise_range', 'poisson_scale_range') for end in ('', '2')}
    kept = {f'resize_prob{end}': [0, 0, 1] for end in ('', '2')}
    sharp = {'blur_sigma': [0.1, 0.11], 'sinc_prob': 0, 'kernel_list': ['iso'], 'kernel_prob': [1]}
    fine = {'jpeg_range': [99, 99], 'jpeg_range2': [99, 99]}
    make = degrader({**REAL_ESRGAN, **mild, **quiet, **kept, **sharp, **fine}, gt_size=32)
    lq, target, _ = make(gt, None, ['0 0', '0 1'])
    reduced = torch.nn.functional.avg_pool2d(target, 4)
    assert (lq - reduced).abs().max() < 0.05  # another crop of the ramp would be farther off


# ---------------------------------------------------------------------- other degradations
@pytest.fixture
def trained(tmp_path) -> dict:
    """A section with the weights of a training, EMA weights among them."""
    torch.manual_seed(5)
    section = {'type': 'DegradationNet', 'num_feat': 4}
    nets = [build_network({**section, 'scale': 4}) for _ in range(2)]
    torch.save({'params': nets[0].state_dict(), 'params_ema': nets[1].state_dict()}, tmp_path / 'net.pth')
    return {**section, 'weights': str(tmp_path / 'net.pth')}


def test_a_trained_network_makes_what_would_be_written(trained):
    (batch,) = hr_batches(1)
    net = build_network({'type': 'DegradationNet', 'num_feat': 4, 'scale': 4})
    net.load_state_dict(torch.load(trained['weights'])['params_ema'])
    lq, gt, _ = degrader(trained)(batch['gt'], None, batch['sample_key'])
    assert torch.equal(lq, low_resolution(net, batch['gt'], 4))
    assert torch.equal(gt, batch['gt'])


def test_real_pairs_and_synthetic_ones_mix_in_a_batch_as_often_as_the_weights_say(trained):
    (pair,) = batches(1, size=64, gt_size=32)
    pair['lq'] = in_levels(pair['lq'])
    keys = [f'0 {index}' for index in range(64)]
    mixture = {'type': 'Mixture', 'of': [{'type': 'Pairs'}, {'type': 'Bicubic'}, trained], 'weights': [2, 1, 0]}
    lq, *_ = degrader(mixture)(pair['gt'], pair['lq'], keys)
    bicubic = in_levels(bicubic_downscale(pair['gt'], 4))
    assert torch.equal(degrader({'type': 'Bicubic'})(pair['gt'], None, None)[0], bicubic)
    own = [torch.equal(*two) for two in zip(lq, pair['lq'], strict=True)]
    made = [(two[0] - two[1]).abs().max() < 0.01 for two in zip(lq, bicubic, strict=True)]
    assert all(one != other for one, other in zip(own, made, strict=True))
    assert 32 <= sum(own) <= 54


@pytest.mark.parametrize('grey', [0.2, 0.8])
def test_noise_has_the_standard_deviation_that_was_asked_for(grey):
    gt, keys = torch.full((2, 3, 256, 256), grey), ['0 0', '0 1']
    make = degrader({'type': 'Bicubic'}, noise=[2, 2], shot_noise=[6, 6])
    lq, *_ = make(gt, None, keys)
    assert ((lq - grey) * 255).std().item() == pytest.approx((4 + 36 * grey) ** 0.5, rel=0.02)
    assert torch.equal(lq[1:2], make(gt[1:2], None, keys[1:2])[0])  # of the sample alone


def test_each_sample_draws_its_noise_between_the_bounds():
    gt, keys = torch.full((8, 3, 128, 128), 0.5), [f'0 {index}' for index in range(8)]
    lq, *_ = degrader({'type': 'Bicubic'}, noise=[2, 8])(gt, None, keys)
    found = ((lq - 0.5) * 255).flatten(1).std(1)
    assert found.min() > 1.9
    assert found.max() < 8.2
    assert found.max() - found.min() > 2


# ---------------------------------------------------------------------- in the models
MODELS = {
    'supervised': ('ExtSRModel', {'pixel_opt': PIXEL}),
    'GAN': ('GANSRModel', GAN),
    'mask': ('MaskGANModel', {**GAN, 'mask_opt': {'type': 'ErrorMask'}}),
    'energy': ('EnergyGANModel', {**GAN, 'gan_opt': {'type': 'EnergyGANLoss', 'margin': 1.0}}),
    'domain adaptation': ('DomainAdaptationSRModel', GAN),
}


def model_options(name: str, **degrade) -> dict:
    model, train = MODELS[name]
    opt = options(model, discriminator=None if name == 'supervised' else 'VGGStyleDiscriminator', **train)
    if name == 'energy':
        opt['network_d'] = {'type': 'TinyEnergy'}
    return {**opt, 'degrade': {**REAL_ESRGAN, **degrade}}


@pytest.mark.parametrize('name', MODELS)
def test_every_model_trains_on_images_it_makes(name):
    data = hr_batches(2)
    model = build(model_options(name))
    logs = run(model, data)
    lq, *_ = degrader()(data[1]['gt'], None, data[1]['sample_key'])
    assert torch.equal(model.lq, lq)
    plain = model_options(name)
    del plain['degrade']
    pairs = [{'lq': degrader()(batch['gt'], None, batch['sample_key'])[0], 'gt': batch['gt']} for batch in data]
    assert logs == run(build(plain), pairs)


def test_the_discriminator_sees_images_that_are_not_sharpened():
    model, (batch,) = build(model_options('GAN', gt_usm=True)), hr_batches(1)
    seen = []
    model.net_d.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    run(model, [batch])
    assert torch.equal(seen[0], batch['gt'])
    assert torch.equal(model.gt, USMSharp()(batch['gt']))
    lq, *_ = degrader()(model.gt, None, batch['sample_key'])
    assert torch.equal(model.lq, lq)


def test_validation_takes_the_images_it_is_given():
    model, (pair,) = build(model_options('supervised')), batches(1)
    model.feed_data(pair)
    model.test()
    assert torch.equal(model.lq, pair['lq'])


def test_the_pool_gives_other_pairs_and_goes_on_after_a_resume(tmp_path):
    data = hr_batches(6)
    whole = build(model_options('GAN', queue_size=4))
    run(whole, data[:4])
    assert not torch.equal(whole.gt, data[3]['gt'])  # from the third batch on they come out of the pool
    given = torch.cat([batch['gt'] for batch in data[:4]])
    assert all(any(torch.equal(image, other) for other in given) for image in whole.gt)
    torch.save(whole.step_state(), tmp_path / 'step')
    generator = torch.get_rng_state()
    expected = []
    for batch in data[4:]:
        run(whole, [batch])
        expected.append((whole.lq, whole.gt))
    resumed = build(model_options('GAN', queue_size=4), seed=5)
    resumed.load_step_state(torch.load(tmp_path / 'step', weights_only=True))
    torch.set_rng_state(generator)
    for batch, (lq, gt) in zip(data[4:], expected, strict=True):
        run(resumed, [batch])
        assert torch.equal(resumed.lq, lq)
        assert torch.equal(resumed.gt, gt)


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'type': 'RealESRGAN'}, "degrade: there is no degradation 'RealESRGAN'"),
        ({'blur_sigma': [3, 0.2]}, 'degrade: blur_sigma must be two positive numbers, the first smaller'),
        ({'resize_prob2': [0.5, 0.5]}, 'degrade: resize_prob2 must be weights .* of up, down and keep'),
        ({'jpeg_range': [30, 300]}, 'degrade: jpeg_range must be two numbers from 1 to 99'),
        ({'second_blur_prob': 2}, 'degrade: second_blur_prob must be a number from 0 to 1'),
        ({'kernel_list': ['iso', 'round']}, 'degrade: kernel_list must be a list of some of'),
        ({'kernel_list': ['iso']}, 'degrade: kernel_prob must have one weight for each of kernel_list'),
        ({'blur_kernel_size': 8}, 'degrade: blur_kernel_size must be an odd number of at least 7'),
        ({'type': 'DegradationNet', 'weights': 'gone.pth'}, 'degrade: Checkpoint gone.pth does not exist'),
        ({'type': 'DegradationNet'}, 'degrade: weights is missing: DegradationNet is used as it was trained'),
        ({'type': 'DegradationNet', 'weights': 'x', 'scale': 2}, 'degrade: scale is 2, but that of the file is 4'),
        ({'type': 'Mixture', 'of': []}, 'degrade: of must name one degradation or more'),
        (
            {'type': 'Mixture', 'of': [{'type': 'Pairs'}], 'weights': [1, 2]},
            'a number of at least 0 for each of 1 parts',
        ),
        ({'noise': [2, 1]}, 'degrade: noise: must be two numbers, 0 <= low <= high'),
        ({'shot_noise': [1]}, 'degrade: shot_noise: must be two numbers'),
        ({'gt_size': 30}, r'degrade: gt_size: 30 is no multiple of scale \(4\)'),
    ],
)
def test_arguments_that_would_fail_later_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(model_options('supervised', **arguments))


def test_crops_that_may_shrink_below_the_kernel_are_refused_at_once():
    with pytest.raises(ValueError, match=r'images of 64 px may shrink to 9 px, too small for kernels of 21 px'):
        degrader()(torch.rand(1, 3, 64, 64), None, ['0 0'])


def test_a_model_that_learns_a_degradation_takes_none():
    opt = options('DegradationModel', discriminator=None, pixel_opt=PIXEL)
    opt |= {'degrade': REAL_ESRGAN, 'datasets': {'train': {'dataroot_real_lq': 'x'}}}
    with pytest.raises(ValueError, match='degrade: DegradationModel learns a degradation itself'):
        build(opt)


def test_batches_without_lq_need_a_degradation():
    with pytest.raises(ValueError, match='Pairs needs low-quality images, and the batches have no lq'):
        run(build({**model_options('supervised'), 'degrade': {'type': 'Pairs'}}), hr_batches(1))
    with pytest.raises(ValueError, match='batches have no lq'):
        build(options('GANSRModel', **GAN)).feed_data({'gt': torch.rand(1, 3, 128, 128)})


# ---------------------------------------------------------------------- a camera's blur
def test_a_cameras_blur_has_its_gains():
    """A wave of any direction comes out with the gain of its frequency."""
    gains = [1, 1, 1, 1, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1]
    blur = build_degradation({'type': 'CameraBlur', 'gains': gains}, 4)
    at = torch.arange(256.0)
    for frequency, angle in ((0.0, 0.0), (0.125, 0.0), (0.275, 0.7), (0.375, 1.5707963)):
        phase = 6.2831853 * frequency / 4 * (at[:, None] * np.sin(angle) + (at - 1.5) * np.cos(angle))
        wave = (0.5 + 0.4 * phase.cos()).expand(1, 3, 256, 256)
        plain = bicubic_downscale(wave, 4) - 0.5
        gain = np.interp(frequency, (np.arange(10) + 0.5) / 20, gains)
        inside = (..., slice(12, -12), slice(12, -12))
        assert (blur(wave) - 0.5)[inside] == pytest.approx(gain * plain[inside], abs=0.01)


def test_with_gamma_a_camera_reduces_light_and_not_values():
    """A checkerboard too fine for LR pixels becomes the grey of its mean light; flat images stay as they are."""
    blur = build_degradation({'type': 'CameraBlur', 'gains': [1, 1, 0.8, 0.5], 'gamma': 2.2}, 4)
    at = torch.arange(64)
    board = ((at[:, None] + at) % 2 * 0.6 + 0.2).expand(1, 3, 64, 64)
    assert blur(board)[..., 4:-4, 4:-4] == pytest.approx(((0.2**2.2 + 0.8**2.2) / 2) ** (1 / 2.2), abs=0.01)
    assert blur(torch.full((1, 3, 64, 64), 0.3)) == pytest.approx(0.3, abs=1e-5)


def test_gammas_near_1_lead_to_that_of_1():
    gt = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    gains = {'type': 'CameraBlur', 'gains': [1, 1, 0.8, 0.5]}
    close = build_degradation(gains | {'gamma': 1.0001}, 4)(gt)
    assert build_degradation(gains, 4)(gt).clamp(0, 1) == pytest.approx(close, abs=1e-3)


@pytest.mark.parametrize('gamma', [0, -1, float('nan')])
def test_a_gamma_that_is_none_is_refused(gamma):
    with pytest.raises(ValueError, match='gamma must be a number above 0'):
        build_degradation({'type': 'CameraBlur', 'gains': [1, 0.5], 'gamma': gamma}, 4)


@pytest.mark.parametrize('gains', [[], [0.9, 0.5], [1, -0.1], [1, 3]])
def test_gains_that_are_no_blur_are_refused(gains):
    with pytest.raises(ValueError, match='gains must be numbers from 0 to 2, the first of them 1'):
        build_degradation({'type': 'CameraBlur', 'gains': gains}, 4)
