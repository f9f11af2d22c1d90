"""LPIPSLoss equals the metric, and can be trained on."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss

from ext_arch import pretrained
from ext_metrics import lpips_metric

pytestmark = pytest.mark.wide_vgg


@pytest.fixture
def images() -> np.ndarray:
    """Two pairs: (2, 2, h, w, 3), uint8, BGR."""
    return np.random.default_rng(0).integers(0, 256, (2, 2, 33, 31, 3), dtype=np.uint8)


def tensors(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255


def test_is_the_mean_of_the_metric(images, tmp_path):
    """Of which test_lpips.py has the definition."""
    torch.manual_seed(0)
    weights = str(tmp_path / 'trunk.pth')
    torch.save(pretrained.load_feature_weights('alexnet', 'random'), weights)
    values = [lpips_metric.calculate_lpips(x, y, 0, weights=weights) for x, y in zip(*images, strict=True)]
    lpips_metric._lpips.cache_clear()
    loss = build_loss({'type': 'LPIPSLoss', 'perceptual_weight': 0.5, 'weights': weights})
    percep, style = loss(*(tensors(batch) for batch in images))
    assert style is None
    assert percep.item() == pytest.approx(0.5 * np.mean(values), rel=1e-4)
    assert values[0] != values[1]


def test_gradient_reaches_the_image_only(images):
    torch.manual_seed(0)
    loss = build_loss({'type': 'LPIPSLoss', 'weights': 'random'})
    x, gt = (tensors(batch).requires_grad_() for batch in images)
    loss(x, gt)[0].backward()
    assert x.grad.abs().max() > 0
    assert gt.grad is None
    assert not any(p.requires_grad for p in loss.parameters())


def test_gradient_is_finite_where_all_features_are_zero():
    loss = build_loss({'type': 'LPIPSLoss', 'weights': 'random'})
    for parameter in loss.lpips.net.parameters():
        parameter.zero_()
    x = torch.rand(1, 3, 31, 31, requires_grad=True)
    percep = loss(x, torch.rand(1, 3, 31, 31))[0]
    assert percep.item() == 0
    percep.backward()
    assert x.grad.isfinite().all()


def test_training_mode_and_autocast_change_nothing(images):
    torch.manual_seed(0)
    loss = build_loss({'type': 'LPIPSLoss', 'weights': 'random'})
    x, gt = (tensors(batch) for batch in images)
    expected = loss.eval()(x, gt)[0]
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(loss.train()(x, gt)[0], expected)
    assert loss(x, x)[0].item() == 0


def test_errors():
    with pytest.raises(ValueError, match="net: 'squeeze'"):
        build_loss({'type': 'LPIPSLoss', 'net': 'squeeze'})
    loss = build_loss({'type': 'LPIPSLoss', 'weights': 'random'})
    with pytest.raises(ValueError, match='30 x 40 px are too small, it needs 31'):
        loss(torch.zeros(1, 3, 30, 40), torch.zeros(1, 3, 30, 40))
