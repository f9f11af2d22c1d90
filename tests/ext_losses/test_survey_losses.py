"""The losses that surveys of super-resolution list, built by their registered names, against their equations in NumPy.

Feature and style losses in all their forms are in test_feature_loss.py, adversarial objectives in test_adversarial.py.
"""

import numpy as np
import pytest
import torch
from basicsr.losses import basic_loss, build_loss
from torch import nn

SHAPE = (2, 3, 9, 11)


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """A generated image, with a gradient, and the true one: float64."""
    generator = torch.Generator().manual_seed(0)
    sr, gt = torch.rand(2, *SHAPE, dtype=torch.float64, generator=generator)
    return sr.requires_grad_(), gt


# ---------------------------------------------------------------------- of pixels
PIXEL = {'L1Loss': lambda difference: np.abs(difference), 'MSELoss': lambda difference: np.square(difference)}


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize('name', PIXEL)
def test_pixel_losses(name, reduction):
    sr, gt = pair()
    loss = build_loss({'type': name, 'loss_weight': 0.25, 'reduction': reduction})(sr, gt)
    errors = PIXEL[name](sr.detach().numpy() - gt.numpy())
    assert loss.item() == pytest.approx(0.25 * getattr(errors, reduction)(), rel=1e-12)
    loss.backward()
    assert (sr.grad.sign() == (sr - gt).sign()).all()  # down is towards the true image


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_total_variation(reduction):
    """The differences of vertical and of horizontal neighbours, reduced each for itself."""
    sr, _ = pair()
    image = sr.detach().numpy()
    parts = [np.abs(np.diff(image, axis=axis)) for axis in (2, 3)]
    loss = build_loss({'type': 'WeightedTVLoss', 'loss_weight': 0.5, 'reduction': reduction})(sr)
    assert loss.item() == pytest.approx(0.5 * sum(getattr(part, reduction)() for part in parts), rel=1e-12)
    constant = torch.full(SHAPE, 0.3, dtype=torch.float64)
    assert build_loss({'type': 'WeightedTVLoss'})(constant).item() == 0


# ---------------------------------------------------------------------- of features
class FirstLayer(nn.Module):
    """Stands for VGG: one fixed convolution. Untrained features serve here, of which the values are computed twice."""

    def __init__(self, **_):
        super().__init__()
        weight = torch.randn(4, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        self.register_buffer('weight', weight)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {'conv1_1': nn.functional.conv2d(images, self.weight)}

    def of(self, images: torch.Tensor) -> np.ndarray:
        """The same in NumPy."""
        windows = np.lib.stride_tricks.sliding_window_view(images.detach().numpy(), (3, 3), axis=(2, 3))
        return np.einsum('nchwij,kcij->nkhw', windows, self.weight.numpy())


@pytest.mark.parametrize('name', ['PerceptualLoss', 'VGGFeatureLoss'])
def test_feature_and_style_loss_with_squared_errors(name, monkeypatch):
    """Also BasicSR's own, whose l2 raises an error as it is shipped and is cured by ext_core.compat."""
    vgg = FirstLayer()
    monkeypatch.setattr(basic_loss, 'VGGFeatureExtractor', lambda **_: vgg)
    weights = {'perceptual_weight': 0.5, 'style_weight': 4.0**2}  # C^2: l2 is the mean over the C x C entries
    ours = {'vgg_type': 'vgg16', 'weights': 'random'} if name == 'VGGFeatureLoss' else {}
    loss = build_loss({'type': name, 'layer_weights': {'conv1_1': 1.0}, 'criterion': 'l2', **weights, **ours})
    loss.vgg = vgg
    sr, gt = pair()
    percep, style = loss(sr, gt)
    features = [vgg.of(image) for image in (sr, gt)]
    _, c, h, w = features[0].shape
    grams = [np.einsum('nchw,ndhw->ncd', feature, feature) / (c * h * w) for feature in features]
    squared_norms = np.square(grams[0] - grams[1]).sum((1, 2))  # of each image, as the equation prints it
    assert percep.item() == pytest.approx(0.5 * np.square(features[0] - features[1]).mean(), rel=1e-6)
    assert style.item() == pytest.approx(squared_norms.mean(), rel=1e-6)
    (percep + style).backward()
    assert sr.grad.abs().min() > 0
