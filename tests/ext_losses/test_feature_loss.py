"""VGGFeatureLoss against BasicSR's PerceptualLoss and against NumPy in float64."""

import numpy as np
import pytest
import torch
from basicsr.losses import basic_loss
from basicsr.utils.registry import LOSS_REGISTRY

from ext_losses.feature_loss import gram_matrix

LAYERS = {'conv1_2': 0.1, 'relu2_2': 0.5, 'conv3_1': 2.0}


def build(layer_weights=None, **options):
    torch.manual_seed(0)
    options = {'vgg_type': 'vgg16', 'weights': 'random'} | options
    return LOSS_REGISTRY.get('VGGFeatureLoss')(layer_weights=layer_weights or LAYERS, **options)


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x, gt = torch.rand(2, 2, 3, 24, 16, generator=generator)
    return x.requires_grad_(), gt


@pytest.mark.parametrize('criterion', ['l1', 'fro'])
def test_equals_basicsr_in_value_and_gradient(monkeypatch, criterion):
    options = {'criterion': criterion, 'perceptual_weight': 0.7, 'style_weight': 30.0}
    ours = build(**options)
    # The extractors are compared in test_vgg_features.py; here both losses look at the same features.
    monkeypatch.setattr(basic_loss, 'VGGFeatureExtractor', lambda **_: ours.vgg)
    theirs = LOSS_REGISTRY.get('PerceptualLoss')(LAYERS, **options)
    results = []
    for loss in (ours, theirs):
        x, gt = pair()
        percep, style = loss(x, gt)
        (percep + style).backward()
        results.append((percep, style, x.grad))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=2e-5, atol=1e-8)
        assert expected.abs().sum() > 0


DISTANCES = {
    'l1': lambda x, y: np.abs(x - y).mean(),
    'l2': lambda x, y: np.square(x - y).mean(),
    'fro': lambda x, y: np.sqrt(np.square(x - y).sum()),
}


@pytest.mark.parametrize('criterion', DISTANCES)
@pytest.mark.parametrize('scale', [1.0, 1 / 12.75])
def test_equals_numpy_in_float64(criterion, scale):
    loss = build(criterion=criterion, perceptual_weight=0.7, style_weight=3.0, feature_scale=scale).double()
    x, gt = (image.detach().double() for image in pair())
    features = [{layer: value.numpy() * scale for layer, value in loss.vgg(image).items()} for image in (x, gt)]
    percep = style = 0.0
    for layer, weight in LAYERS.items():
        first, second = (feature[layer] for feature in features)
        size = np.prod(first.shape[1:])
        grams = [np.einsum('ncij,ndij->ncd', feature, feature) / size for feature in (first, second)]
        percep += 0.7 * weight * DISTANCES[criterion](first, second)
        style += 3.0 * weight * DISTANCES[criterion](*grams)
    actual = loss(x, gt)
    assert actual[0].item() == pytest.approx(percep, rel=1e-12)
    assert actual[1].item() == pytest.approx(style, rel=1e-12)


def test_terms_with_weight_zero_are_none():
    x, gt = pair()
    assert build()(x, gt)[1] is None
    assert build(perceptual_weight=0, style_weight=1.0)(x, gt)[0] is None


def test_target_is_extracted_without_a_graph(monkeypatch):
    loss = build()
    x, gt = pair()
    gt.requires_grad_()
    modes = []
    monkeypatch.setattr(
        loss.vgg,
        'forward',
        lambda image, forward=loss.vgg.forward: modes.append((image is gt, torch.is_grad_enabled())) or forward(image),
    )
    loss(x, gt)[0].backward()
    assert sorted(modes) == [(False, True), (True, False)], 'each image once, only x with a graph'
    assert gt.grad is None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize('criterion', ['l1', 'l2', 'fro'])
def test_equal_images_give_zero_and_a_zero_gradient(criterion):
    loss = build(criterion=criterion, style_weight=1.0)
    x, _ = pair()
    percep, style = loss(x, x.detach().clone())
    (percep + style).backward()
    assert percep.item() == style.item() == 0
    assert not x.grad.any()


@pytest.mark.parametrize('criterion', ['l1', 'l2', 'fro'])
def test_autocast(criterion):
    loss = build(criterion=criterion, style_weight=1.0)
    x, gt = pair()
    expected = loss(x, gt)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        actual = loss(x, gt)
    for value, reference in zip(actual, expected, strict=True):
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(reference.item(), rel=0.03)


def test_gram_matrix_does_not_overflow_in_half_precision():
    # sum over 4096 positions of 100 * 100 = 4.1e7, beyond float16's 65504; divided by 2 * 4096 it is 5000
    gram = gram_matrix(torch.full((1, 2, 64, 64), 100.0, dtype=torch.float16))
    assert torch.equal(gram, torch.full((1, 2, 2), 5000.0))


def test_unknown_criterion():
    with pytest.raises(ValueError, match=r"criterion: 'l3'.*l1, l2, fro"):
        build(criterion='l3')
