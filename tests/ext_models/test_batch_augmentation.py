"""Mixup, CutMix, ResizeMix and CutBlur: NumPy references, frequencies, exact resume, two processes."""

import numpy as np
import pytest
import tiny_energy  # noqa: F401  # registers the network
import torch
from PIL import Image
from processes import on_processes
from recipes import PIXEL, batches, build, options, run
from test_degrade import MODELS, model_options
from test_resumed_steps import goes_on_alike

from ext_arch.resize import bicubic_downscale
from ext_models.batch_augmentation import KINDS, BatchAugmentation

SCALE = 4
ALL = dict.fromkeys(KINDS, 0.2)


def shrunk(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow's antialiased bicubic, channel by channel in floats."""
    channels = [Image.fromarray(channel).resize((width, height), Image.Resampling.BICUBIC) for channel in image]
    return np.stack([np.asarray(channel) for channel in channels]).clip(0, 1)


def random_box(rng, height: int, width: int, ratio: float) -> tuple[int, int, int, int]:
    tall, wide = max(1, int(height * ratio)), max(1, int(width * ratio))
    top = int(rng.integers(height - tall + 1))
    left = int(rng.integers(width - wide + 1))
    return top, top + tall, left, left + wide


def reference(kind: str, seed: int, lq: np.ndarray, gt: np.ndarray, sharp: np.ndarray) -> tuple:
    """Pixel by pixel; ``sharp`` is gt at the size of lq."""
    rng = np.random.default_rng(seed)
    rng.random()  # which way
    order, (height, width) = rng.permutation(len(lq)), lq.shape[-2:]
    scale = gt.shape[-1] // width
    if kind == 'mixup':
        share = rng.beta(1.2, 1.2)
        return tuple(share * x + (1 - share) * x[order] for x in (lq, gt))
    if kind == 'cutmix':
        side = np.sqrt(1 - rng.uniform())
        edges = []
        for whole in (height, width):
            centre = int(rng.integers(whole))
            edges += [centre - int(whole * side) // 2, centre + int(whole * side) // 2]
    elif kind == 'resizemix':
        edges = random_box(rng, height, width, rng.uniform(0.1, 0.8))
    else:
        edges = random_box(rng, height, width, min(max(rng.normal(0.7, 0.01), 0), 1))
        inside = rng.uniform() < 0.5
    top, bottom, left, right = edges
    made = []
    for source, s in ((lq, 1), (gt, scale)):
        x = source.copy()
        for n in range(len(x)):
            if kind == 'resizemix':
                small = shrunk(source[order[n]], s * (bottom - top), s * (right - left))
            for row in range(x.shape[-2]):
                for column in range(x.shape[-1]):
                    within = s * top <= row < s * bottom and s * left <= column < s * right
                    if kind == 'cutmix' and within:
                        x[n, :, row, column] = source[order[n], :, row, column]
                    elif kind == 'resizemix' and within:
                        x[n, :, row, column] = small[:, row - s * top, column - s * left]
                    elif kind == 'cutblur' and source is lq and within == inside:
                        x[n, :, row, column] = sharp[n, :, row, column]
        made.append(x)
    if kind == 'cutblur':
        made[1] = gt
    return tuple(made)


@pytest.mark.parametrize('scale', [SCALE, 1])
@pytest.mark.parametrize('kind', KINDS)
def test_equals_the_definition(kind, scale):
    (batch,) = batches(1, size=3, gt_size=32)
    gt = batch['gt'][..., :24]
    lq = batch['lq'][..., :6] if scale == SCALE else torch.rand_like(gt)
    sharp = bicubic_downscale(gt, scale).clamp(0, 1) if scale > 1 else gt
    augment, both = BatchAugmentation(**{kind: 1.0}), set()
    for seed in range(6):
        got = augment(np.random.default_rng(seed), lq, gt, gt)
        expected = reference(kind, seed, *(images.numpy() for images in (lq, gt, sharp)))
        for one, other in zip(got, (*expected, expected[1]), strict=True):
            np.testing.assert_allclose(one.numpy(), other, atol=1e-5)
        both.add(bool((got[0][:, :, 0, 0] == lq[:, :, 0, 0]).all()))
    if kind == 'cutblur':
        assert both == {True, False}  # the box, and all but the box


def test_each_way_comes_as_often_as_it_says():
    lq, gt = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32)
    augment = BatchAugmentation(mixup=0.5, cutblur=0.25)
    seen = {'mixup': 0, 'cutblur': 0, 'none': 0}
    for seed in range(400):
        new_lq, new_gt = augment(np.random.default_rng(seed), lq, gt)
        order = np.random.default_rng(seed)
        order.random()
        if order.permutation(2)[0] == 0:
            continue  # each is its own partner
        seen['none' if torch.equal(new_lq, lq) else 'cutblur' if torch.equal(new_gt, gt) else 'mixup'] += 1
    total = sum(seen.values())
    assert seen['mixup'] / total == pytest.approx(0.5, abs=0.1)
    assert seen['cutblur'] / total == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize(
    ('model_type', 'arguments', 'message'),
    [
        ('ExtSRModel', {'mixup': 0.6, 'cutmix': 0.5}, 'train:augment: the probabilities of .* add up to more than 1'),
        (
            'ExtSRModel',
            {'resizemix': 0.5, 'resizemix_range': [0.8, 0.1]},
            'train:augment: resizemix_range must be two numbers',
        ),
        ('DegradationModel', ALL, 'train:augment: it mixes pairs, and DegradationModel has none'),
    ],
)
def test_refusals(model_type, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(options(model_type, discriminator=None, pixel_opt=PIXEL, augment=arguments))


# ---------------------------------------------------------------------- in the models
@pytest.mark.parametrize('name', MODELS)
def test_every_model_sees_mixed_pairs(name):
    """LQ images are made first; what the discriminator sees as real is mixed as the ground truths are."""
    plain, mixed = (build(model_options(name, type='Bicubic', gt_usm=True)) for _ in range(2))
    mixed.augment = BatchAugmentation(cutmix=1)
    (batch,) = batches(1)
    for model in (plain, mixed):
        run(model, [{'gt': batch['gt'], 'sample_key': ['0 0', '0 1']}], start=5)
    wanted = mixed.augment(np.random.default_rng([0, 5, 0]), plain.lq, plain.gt, plain.real)
    assert not torch.equal(plain.lq, mixed.lq)
    for one, other in zip((mixed.lq, mixed.gt, mixed.real), wanted, strict=True):
        assert torch.equal(one, other)


def test_a_resumed_run_mixes_the_same():
    opt = options('ExtSRModel', discriminator=None, pixel_opt=PIXEL, augment=ALL, ema_decay=0.9, accumulate=2)
    goes_on_alike(opt)


def mixed_by(rank: int) -> dict:
    opt = options('ExtSRModel', discriminator=None, pixel_opt=PIXEL, augment={'mixup': 1.0})
    model = build({**opt, 'dist': True, 'world_size': 2, 'rank': rank})
    run(model, batches(2, gt_size=32))  # the same batch on both
    return {'gt': model.gt, 'weights': model.get_bare_model(model.net_g).state_dict()}


def test_two_processes_draw_their_own_and_stay_together():
    first, second = on_processes(mixed_by)
    assert not torch.equal(first['gt'], second['gt'])
    for name, weights in first['weights'].items():
        assert torch.equal(weights, second['weights'][name])
