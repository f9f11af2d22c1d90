"""MMDLoss: what it takes as samples, precision, and two processes against one."""

from unittest import mock

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import ARCH_REGISTRY
from processes import on_processes
from torch import Tensor, nn
from torch.nn import functional as F

from ext_losses import mmd_loss
from ext_losses.frequency import HighPass
from ext_losses.mmd import Kernel, draw_frequencies, fixed_frequencies, mmd2
from ext_losses.mmd_loss import patch_grid, take_samples


def make(**options):
    return build_loss({'type': 'MMDLoss', **options})


def images(n: int = 4, size: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, n, 3, size, size, generator=generator)
    return x, 0.5 * y + 0.3


def unfolded(x: Tensor, size: int, stride: int) -> Tensor:
    """(n L, c size size): F.unfold's columns, image after image."""
    return F.unfold(x, size, stride=stride).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize(('size', 'stride'), [(8, 8), (8, 4), (5, 3), (1, 1), (24, 1)])
def test_patches_equal_unfold(size, stride):
    x, _ = images()
    grid = patch_grid(x, size, stride)
    expected = unfolded(x, size, stride)
    assert grid.data_ptr() == x.data_ptr(), 'a view'
    assert torch.equal(take_samples(grid, len(expected)), expected)


def test_default_is_high_passed_images_with_the_kernels_of_dan():
    x, y = images()
    for options, weight in (({'kernel_size': 7, 'sigma': 1.0}, 1.0), ({'kernel_size': 5, 'sigma': 1.5}, 3.0)):
        highpass = HighPass(**options)
        expected = weight * mmd2(highpass(x).flatten(1), highpass(y).flatten(1))
        given = {} if weight == 1 else {'highpass': options, 'loss_weight': weight}
        torch.testing.assert_close(make(**given)(x, y), expected)
    torch.testing.assert_close(make(highpass=None)(x.flatten(1), y.flatten(1)), mmd2(x.flatten(1), y.flatten(1)))


@pytest.mark.parametrize('estimator', ['biased', 'unbiased'])
def test_spaces(estimator):
    x, y = images(2, 16)
    common = {'highpass': None, 'estimator': estimator, 'max_samples': 10**6}
    kernel = Kernel(bandwidth='median', mul=3.0, num=2, normalize=True)
    options = common | {'bandwidth': 'median', 'kernel_mul': 3.0, 'kernel_num': 2, 'normalize_kernels': True}
    vgg = ARCH_REGISTRY.get('VGGFeatures')
    torch.manual_seed(1)
    features = vgg(layers=['relu2_1'], vgg_type='vgg16', weights='random')
    torch.manual_seed(1)
    feature_options = {'feature_layer': 'relu2_1', 'vgg_type': 'vgg16', 'weights': 'random'}
    losses = {
        'image': (make(space='image', **options), lambda z: z.flatten(1)),
        'patch': (make(space='patch', patch_size=5, stride=3, **options), lambda z: unfolded(z, 5, 3)),
        'pixel': (make(space='pixel', **options), lambda z: unfolded(z, 1, 1)),
        'feature': (
            make(space='feature', **options, **feature_options),
            lambda z: unfolded(features(z)['relu2_1'], 1, 1),
        ),
    }
    for space, (loss, samples) in losses.items():
        expected = mmd2(samples(x), samples(y), kernel, estimator)
        assert expected.abs() > 1e-3
        torch.testing.assert_close(loss(x, y), expected, msg=lambda m, s=space: f'{s}: {m}')


def features(kind: str, z: np.ndarray, bandwidth: float, frequencies: np.ndarray) -> np.ndarray:
    """phi(z) of one sample, number by number; rbf with one bandwidth."""
    if kind == 'linear':
        return z
    if kind == 'poly2':
        return np.array([a * b / len(z) for a in z for b in z])
    angles = [(2 / bandwidth) ** 0.5 * sum(w * value for w, value in zip(row, z, strict=True)) for row in frequencies]
    return np.array([f(angle) for f in (np.cos, np.sin) for angle in angles]) / len(frequencies) ** 0.5


EXPLICIT = {
    'linear': {'kernel': 'linear'},
    'poly2': {'kernel': 'poly2'},
    'rff, fresh': {'estimator': 'rff', 'kernel_num': 1, 'bandwidth': 3.0, 'num_features': 16},
    'rff, fixed': {'estimator': 'rff', 'kernel_num': 1, 'bandwidth': 3.0, 'num_features': 16, 'draw': 'fixed'},
}


@pytest.mark.parametrize('space', ['image', 'patch', 'pixel'])
@pytest.mark.parametrize('kind', EXPLICIT)
def test_norms_of_the_difference_of_mean_features(kind, space):
    """Against means of features written out one by one, in float64."""
    x, y = (z.double() for z in images(3, 4))
    common = {'space': space, 'highpass': None, 'patch_size': 2, 'stride': 2, 'max_samples': 10**6} | EXPLICIT[kind]
    samples = [{'image': z.flatten(1), 'patch': unfolded(z, 2, 2), 'pixel': unfolded(z, 1, 1)}[space] for z in (x, y)]
    torch.manual_seed(3)
    draw = fixed_frequencies if kind == 'rff, fixed' else draw_frequencies
    frequencies = draw(samples[0], 16).numpy()
    means = [np.mean([features(kind, row, 3.0, frequencies) for row in z.numpy()], axis=0) for z in samples]
    difference = means[0] - means[1]
    expected = {
        'squared': (difference**2).sum(),
        'l2': ((difference**2).sum() + 1e-8) ** 0.5,
        'l1': abs(difference).sum(),
    }
    for norm, value in expected.items():
        torch.manual_seed(3)
        assert make(norm=norm, **common)(x, y).item() == pytest.approx(value, rel=1e-9), norm
    torch.manual_seed(3)
    assert make(squared=False, **common)(x, y).item() == pytest.approx(expected['l2'], rel=1e-9)


@pytest.mark.parametrize('kind', EXPLICIT)
def test_gradients_of_the_1_norm_equal_finite_differences(kind):
    x, y = (z.double().requires_grad_() for z in images(2, 3))
    loss = make(norm='l1', highpass=None, space='pixel', max_samples=10**6, **EXPLICIT[kind]).double()

    def value(x: Tensor, y: Tensor) -> Tensor:
        torch.manual_seed(1)
        return loss(x, y)

    assert torch.autograd.gradcheck(value, (x, y), eps=1e-7, atol=1e-6)


def test_the_gradient_of_the_1_norm_stays_where_the_others_vanish():
    """Of means of whole images, n = 4: sign / n in each pixel, however near they are; the 2-norm's is finite at 0."""
    x, _ = images()
    x.requires_grad_()
    for gap in (0.1, 1e-3):
        (gradient,) = torch.autograd.grad(make(norm='l1', kernel='linear', highpass=None)(x, x.detach() - gap), x)
        torch.testing.assert_close(gradient, torch.full_like(x, 0.25))
    equal = make(squared=False)(x, x.detach())
    assert equal.item() == pytest.approx(1e-4)
    assert torch.autograd.grad(equal, x)[0].abs().max() < 1e-3


def test_fixed_frequencies_leave_the_random_generator_alone():
    x, y = images()
    loss = make(estimator='rff', draw='fixed', num_features=8)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    values = [loss(x, y), loss(x, y), make(estimator='rff', draw='fixed', num_features=8)(x, y)]
    assert torch.equal(torch.get_rng_state(), before)
    assert values[0] == values[1] == values[2]
    loss(x.flatten(2)[..., :100].reshape(4, 3, 10, 10), y[..., :10, :10])  # samples of another length
    assert loss.double()(x.double(), y.double()).item() == pytest.approx(values[0].item(), rel=1e-4)


@pytest.mark.parametrize('space', ['image', 'patch', 'pixel', 'feature'])
def test_gradient_reaches_inputs_that_require_it_and_nothing_else(space):
    x, y = images()
    loss = make(space=space, vgg_type='vgg16', weights='random', feature_layer='relu1_1')
    assert not list(loss.parameters())
    assert not loss(x, y).requires_grad
    loss(x.requires_grad_(), y).backward()
    assert x.grad.abs().sum() > 0
    assert y.grad is None
    loss(x.detach(), y.requires_grad_()).backward()
    assert y.grad.abs().sum() > 0


def test_high_pass_gives_a_gradient_at_the_size_of_training_crops():
    """6 crops of 3 x 64 x 64: alive by the heuristic, dead at a fixed bandwidth of 2 sigma^2 = 2."""
    x, y = images(6, 64)
    gradients = {}
    for bandwidth in ('mean', 2.0):
        x.requires_grad_().grad = None
        make(bandwidth=bandwidth, kernel_num=1)(x, y).backward()
        gradients[bandwidth] = x.grad.norm().item()
    assert gradients['mean'] > 1e-3
    assert gradients[2.0] < 1e-9


@pytest.mark.parametrize('space', ['patch', 'pixel'])
def test_random_subsets_are_bounded_and_repeat_under_a_seed(monkeypatch, space):
    counts = []
    monkeypatch.setattr(
        mmd_loss, 'mmd2', lambda x, y, *_, **__: counts.append((len(x), len(y))) or mmd2(x, y, *_, **__)
    )
    x, y = images(4)
    loss = make(space=space, patch_size=4, stride=2, max_samples=50)
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(loss(x, y).item())
    assert counts == [(50, 50)] * 3
    assert values[0] == values[1] != values[2]
    loss.max_samples = 10**6
    loss(x, y[:1])
    grid = {'patch': 11 * 11, 'pixel': 24 * 24}[space]
    assert counts[-1] == (grid, grid), 'both are reduced to the smaller set'


@pytest.mark.parametrize('space', ['image', 'patch', 'feature'])
@pytest.mark.parametrize('estimator', ['biased', 'rff'])
def test_bfloat16_images_under_autocast_are_computed_in_float32(space, estimator):
    loss = make(space=space, estimator=estimator, vgg_type='vgg16', weights='random', feature_layer='relu1_2')
    x, y = (z.bfloat16() for z in images())
    torch.manual_seed(0)
    expected = loss(x.float(), y.float())
    torch.manual_seed(0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        actual = loss(x.requires_grad_(), y)
    actual.backward()
    assert actual.dtype == torch.float32
    assert torch.equal(actual.detach(), expected)
    assert x.grad.dtype == torch.bfloat16
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'space': 'voxel'}, r"space: 'voxel'.*image, patch, pixel, feature"),
        ({'estimator': 'rff', 'kernel': 'poly2'}, 'estimator: rff .*poly2'),
        ({'estimator': 'unbiased', 'squared': False}, r'\(squared: false\) needs estimator: biased or rff'),
        ({'estimator': 'unbiased', 'norm': 'l2'}, 'norm: l2 .* needs estimator: biased or rff'),
        ({'norm': 'l3'}, r"norm: 'l3'.*squared, l2, l1"),
        ({'draw': 'never'}, r"draw: 'never'.*fresh, fixed"),
        ({'norm': 'l1'}, 'norm: l1 needs features .*estimator: rff, or kernel: linear or poly2'),
        ({'norm': 'l1', 'kernel': 'linear', 'estimator': 'unbiased'}, 'norm: l1 needs features'),
        ({'norm': 'l1', 'kernel': 'linear', 'squared': False}, 'squared: false means norm: l2, but norm is l1'),
        ({'patch_size': 0}, 'patch_size: '),
        ({'stride': 0}, 'stride: '),
        ({'max_samples': 0}, 'max_samples: '),
        ({'num_features': 0}, 'num_features: '),
        ({'space': 'feature', 'weights': 'random', 'feature_layer': 'conv9_1'}, "no layer 'conv9_1'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


X, Y = images()


@pytest.mark.parametrize(
    ('options', 'x', 'y', 'message'),
    [
        ({}, X, Y[..., :22, :22], r'\(4, 1728\) and \(4, 1452\).*same size'),
        ({'space': 'patch', 'patch_size': 32}, X, Y, 'patch_size: 32 is larger than the images of 24x24 px'),
        ({}, X[0], Y[0], r'needs images \(n, c, h, w\), but got \(3, 24, 24\)'),
        ({}, X.flatten(1), Y.flatten(1), 'highpass: ~'),
        ({'norm': 'l1', 'kernel': 'poly2'}, *images(2, 64),
         r'd\^2 features, too many for samples of d = 12288 values: .*space: patch'),
    ],
)  # fmt: skip
def test_images_that_do_not_fit_are_refused(options, x, y, message):
    with pytest.raises(ValueError, match=message):
        make(**options)(x, y)
    assert make(space='patch')(X, Y[..., :22, :22]) > 0


# ---------------------------------------------------------------------- two processes
SCENARIOS: dict[str, dict] = {
    'image, biased': {},
    'image, unbiased, median': {'estimator': 'unbiased', 'bandwidth': 'median'},
    'patch, norm': {'space': 'patch', 'squared': False},
    'pixel, linear': {'space': 'pixel', 'kernel': 'linear', 'highpass': None, 'max_samples': 10**6},
    'patch, rff': {'space': 'patch', 'estimator': 'rff', 'num_features': 32},
    'image, l1': {'kernel': 'linear', 'norm': 'l1'},
    'pixel, poly2, l1': {'space': 'pixel', 'kernel': 'poly2', 'norm': 'l1', 'max_samples': 10**6},
    'rff fixed, l1': {'estimator': 'rff', 'draw': 'fixed', 'norm': 'l1', 'num_features': 32},
    'rff, median, norm': {'estimator': 'rff', 'bandwidth': 'median', 'squared': False, 'num_features': 32},
}


def global_batches() -> tuple[Tensor, Tensor]:
    """Global batches of 4 generated and 4 real images."""
    generator = torch.Generator().manual_seed(5)
    x, y = torch.rand(2, 4, 3, 24, 24, generator=generator, dtype=torch.float64)
    return x, 0.3 * y + 0.4


def step(scenario: str, world_size: int = 1, rank: int = 0) -> dict[str, Tensor]:
    """Value of the loss and gradient of the network's weights."""
    torch.manual_seed(0)
    net: nn.Module = nn.Conv2d(3, 3, 3, padding=1).double()
    if world_size > 1:
        net = nn.parallel.DistributedDataParallel(net)
    loss = make(loss_weight=2.0, sync=True, **SCENARIOS[scenario]).double()
    share = 4 // world_size
    x, y = (z[rank * share : (rank + 1) * share] for z in global_batches())
    torch.manual_seed(7 + rank)  # ranks draw differently, as in training
    value = loss(net(x), y)
    value.backward()
    gradients = {name.removeprefix('module.'): parameter.grad for name, parameter in net.named_parameters()}
    return {'value': value.detach(), **gradients}


def subsampled(rank: int) -> dict:
    """More samples than ``max_samples``: each rank contributes a random part. Value, and samples compared."""
    counts = []
    with mock.patch.object(mmd_loss, 'mmd2', lambda x, y, *rest: counts.append(len(x)) or mmd2(x, y, *rest)):
        torch.manual_seed(7 + rank)
        loss = make(space='pixel', sync=True, max_samples=20)
        return {'value': loss.double()(*global_batches()), 'counts': counts}


def step_all(rank: int) -> dict:
    return {scenario: step(scenario, 2, rank) for scenario in SCENARIOS} | {'subsampled': subsampled(rank)}


@pytest.fixture(scope='module')
def two_processes() -> list[dict]:
    """What they computed, by rank and scenario."""
    return on_processes(step_all)


@pytest.mark.parametrize('scenario', list(SCENARIOS))
def test_two_processes_equal_one_on_the_whole_batch(two_processes, scenario):
    """Value and averaged gradient, in float64."""
    expected = step(scenario)
    assert expected['weight'].abs().max() > 1e-6
    for rank in range(2):
        for name, value in expected.items():
            torch.testing.assert_close(two_processes[rank][scenario][name], value, rtol=1e-9, atol=1e-12)


def test_ranks_with_subsets_agree(two_processes):
    first, second = (results['subsampled'] for results in two_processes)
    assert first['value'] == second['value'] > 0
    assert first['counts'] == second['counts'] == [20], 'max_samples in total, 10 of each rank'
