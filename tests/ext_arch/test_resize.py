"""Bicubic resizing on tensors against BasicSR's port of MATLAB's imresize."""

import pytest
import torch
from basicsr.utils.matlab_functions import imresize
from torch.autograd import gradcheck

from ext_arch.resize import bicubic_downscale, bicubic_upscale

SIZES = [(2, 3), (7, 16), (65, 101)]  # of the low-resolution image; the first is the smallest that is allowed


def noise(height: int, width: int, channels: int = 3) -> torch.Tensor:
    """White noise: the hardest image for a filter."""
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('size', SIZES)
def test_equals_matlab_everywhere(scale, size):
    hr, lr = noise(scale * size[0], scale * size[1]), noise(*size)
    expected = torch.stack([imresize(image, 1 / scale) for image in hr])
    torch.testing.assert_close(bicubic_downscale(hr, scale), expected, rtol=0, atol=1e-6)
    # the reference computes coordinates in float32, which thirds do not fit
    expected = torch.stack([imresize(image, scale) for image in lr])
    torch.testing.assert_close(bicubic_upscale(lr, scale), expected, rtol=0, atol=2e-5 if scale == 3 else 1e-6)
    with pytest.raises(ValueError, match='at least 2'):
        bicubic_upscale(lr[..., :1, :], scale)


@pytest.mark.parametrize('resize', [bicubic_downscale, bicubic_upscale])
def test_gradient(resize):
    x = noise(6, 9, channels=1).double().requires_grad_()
    assert gradcheck(lambda image: resize(image, 3), (x,))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_float32(dtype):
    x = noise(16, 16).to(dtype)
    assert torch.equal(bicubic_downscale(x, 4), bicubic_downscale(x.float(), 4))
    assert torch.equal(bicubic_upscale(x, 2), bicubic_upscale(x.float(), 2))


@pytest.mark.parametrize(
    ('x', 'scale', 'words'),
    [
        (torch.zeros(1, 3, 16, 18), 4, '16 x 18 .* multiples of 4'),
        (torch.zeros(1, 3, 4, 8), 4, 'at least 8'),
        (torch.zeros(3, 16, 16), 4, r'\(n, c, h, w\)'),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 4, 'floating point'),
        (torch.zeros(1, 3, 16, 16), 0, 'at least 1'),
    ],
)
def test_refuses(x, scale, words):
    with pytest.raises(ValueError, match=words):
        bicubic_downscale(x, scale)
