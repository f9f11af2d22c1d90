"""The filters against SciPy's in float64, their closed forms, and the view made of them."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from scipy import ndimage
from torch import Tensor

from ext_losses.frequency import HighPass, LowPass, gaussian_kernel

SCIPY_PAD = {'reflect': 'mirror', 'zero': 'constant'}  # SciPy's 'reflect' repeats the edge pixel, torch's does not
CONVOLUTIONS = [('gaussian', 5, 0.83), ('gaussian', 13, 2.0), ('average', 9, 2.0), ('average', 5, 2.0)]


def photograph(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def smooth(images: np.ndarray, filter: str, size: int, sigma: float, mode: str) -> np.ndarray:
    if filter == 'average':
        return ndimage.uniform_filter(images, (0, 0, size, size), mode=mode)
    return ndimage.gaussian_filter(images, (0, 0, sigma, sigma), mode=mode, radius=(0, 0, size // 2, size // 2))


@pytest.mark.parametrize('pad', ['reflect', 'zero'])
@pytest.mark.parametrize(('filter', 'size', 'sigma'), CONVOLUTIONS)
@pytest.mark.parametrize('channels', [1, 3, 5])
def test_convolutions_equal_scipy(filter, size, sigma, pad, channels):
    images = photograph(2, channels, 16, 21)
    expected = smooth(images.double().numpy(), filter, size, sigma, SCIPY_PAD[pad])
    low = LowPass(filter, size, sigma, pad)(images)
    np.testing.assert_allclose(low.numpy(), expected, rtol=0, atol=5e-7)
    high = HighPass(filter, size, sigma, pad)(images)
    np.testing.assert_allclose(high.numpy(), images.double().numpy() - expected, rtol=0, atol=5e-7)
    assert torch.equal(HighPass(filter, size, sigma, pad, shift=True)(images), 0.5 + 0.5 * high)


def test_gaussian_kernel_closed_form():
    kernel = gaussian_kernel(3, 1.0)
    side = np.exp(-0.5)
    np.testing.assert_allclose(kernel.numpy(), np.array([side, 1, side]) / (1 + 2 * side), rtol=1e-15)


@pytest.mark.parametrize('sizes', [(4, 6), (5, 6), (5, 7)])
def test_haar_equals_its_wavelet_transform(sizes):
    """Analysis with the orthonormal Haar pairs, the approximation band set to 0, synthesis."""
    height, width = sizes
    images = photograph(1, 2, *sizes).double().numpy()
    padded = np.pad(images, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)), mode='reflect')
    a, b, c, d = (padded[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
    horizontal, vertical, diagonal = (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2
    expected = np.empty_like(padded)
    expected[..., 0::2, 0::2] = (horizontal + vertical + diagonal) / 2
    expected[..., 0::2, 1::2] = (-horizontal + vertical - diagonal) / 2
    expected[..., 1::2, 0::2] = (horizontal - vertical - diagonal) / 2
    expected[..., 1::2, 1::2] = (-horizontal - vertical + diagonal) / 2
    high = HighPass('haar')(torch.from_numpy(images).float())
    np.testing.assert_allclose(high.numpy(), expected[..., :height, :width], rtol=0, atol=2e-7)


@pytest.mark.parametrize('filter', ['gaussian', 'average', 'haar'])
@pytest.mark.parametrize('pad', ['reflect', 'zero'])
def test_gradient(filter, pad):
    images = photograph(1, 2, 5, 6, dtype=torch.float64).requires_grad_()
    high_pass = HighPass(filter, kernel_size=5, sigma=1.0, pad=pad)
    assert high_pass(images).dtype == torch.float64
    assert torch.autograd.gradcheck(high_pass, images)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('filter', ['gaussian', 'haar'])
def test_half_precision_images_are_filtered_in_float32(filter, dtype):
    images = photograph(1, 3, 16, 16, dtype=dtype).requires_grad_()
    high_pass = HighPass(filter)
    with torch.autocast('cpu', torch.bfloat16):
        high = high_pass(images)
        from_float = high_pass(images.detach().float())
    assert high.dtype == torch.float32
    assert torch.equal(high, from_float)
    assert torch.equal(high, high_pass(images.detach().float()))
    (gradient,) = torch.autograd.grad(high.square().sum(), images)
    assert gradient.dtype == dtype
    assert gradient.abs().max() > 0


def test_filters_stay_out_of_checkpoints():
    assert not HighPass().state_dict()
    assert not list(HighPass().parameters())
    assert dict(HighPass().named_buffers()).keys() == {'low_pass.kernel'}


@pytest.mark.parametrize(
    ('option', 'value'), [('filter', 'median'), ('pad', 'same'), ('kernel_size', 4), ('kernel_size', 0), ('sigma', 0.0)]
)
def test_unusable_options_are_refused(option, value):
    with pytest.raises(ValueError, match=f'{option} must be .*, but is .*{value}'):
        build_loss({'type': 'HighPassView', option: value})


def test_images_smaller_than_the_border_are_refused():
    with pytest.raises(ValueError, match=r'kernel_size 13 .* larger than 6 px, but got \(8, 6\)'):
        HighPass()(torch.zeros(1, 3, 8, 6))
    assert HighPass(pad='zero')(torch.zeros(1, 3, 8, 6)).shape == (1, 3, 8, 6)
    with pytest.raises(ValueError, match='filter haar'):
        HighPass('haar')(torch.zeros(1, 3, 1, 1))


def test_view_filters_both_images():
    sr, gt = photograph(2, 3, 16, 16), photograph(2, 3, 16, 16, seed=1)
    view = build_loss({'type': 'HighPassView', 'filter': 'average', 'kernel_size': 5})
    assert view.statistics() == {}
    assert view.panels() == {}
    high_sr, high_gt = view(sr, gt)
    assert torch.equal(high_sr, HighPass('average', 5)(sr))
    assert torch.equal(high_gt, HighPass('average', 5)(gt))
    statistics = {name: value.item() for name, value in view.statistics().items()}
    expected = {'highpass_sr_std': high_sr.numpy().std(ddof=1), 'highpass_gt_std': high_gt.numpy().std(ddof=1)}
    assert statistics == pytest.approx(expected, rel=1e-5)
    assert statistics['highpass_sr_std'] != statistics['highpass_gt_std']


@pytest.mark.parametrize('shift', [False, True])
def test_panels_show_no_detail_as_grey(shift):
    sr, gt = torch.full((1, 3, 16, 16), 0.8), photograph(1, 3, 16, 16)
    view = build_loss({'type': 'HighPassView', 'shift': shift})
    view(sr.requires_grad_(), gt)
    panels = view.panels()
    assert set(panels) == {'highpass_sr', 'highpass_gt'}
    assert (panels['highpass_sr'] - 0.5).abs().max() < 1e-6
    assert torch.equal(panels['highpass_gt'], 0.5 + 0.5 * HighPass()(gt))
    assert not any(panel.requires_grad for panel in panels.values())
