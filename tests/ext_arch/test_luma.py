"""The way of a colour image through a network for luminance, against BasicSR's NumPy functions."""

import numpy as np
import pytest
import torch
from basicsr.utils.color_util import rgb2ycbcr, ycbcr2rgb
from basicsr.utils.matlab_functions import imresize
from small_networks import loosened, make

from ext_arch.luma import rgb_to_ycbcr, through_luma, ycbcr_to_rgb
from ext_arch.resize import bicubic_upscale

NETWORKS = {
    'SRCNN': {'num_feat': (8, 4)},
    'FSRCNN': {'d': 8, 's': 4, 'm': 1},
    'ESPCN': {'num_feat': (8, 4)},
    'VDSR': {'num_feat': 8, 'num_conv': 3},
}


def colours(height: int = 12, width: int = 15) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def array(images: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(images[0].permute(1, 2, 0).numpy(), dtype=np.float32)


def test_conversions_are_basicsrs():
    rgb = colours()
    ycbcr = rgb_to_ycbcr(rgb)
    np.testing.assert_allclose(array(ycbcr), rgb2ycbcr(array(rgb)), rtol=0, atol=1e-6)
    np.testing.assert_allclose(array(ycbcr_to_rgb(ycbcr)), ycbcr2rgb(array(ycbcr)), rtol=0, atol=2e-5)
    torch.testing.assert_close(ycbcr_to_rgb(ycbcr), rgb, rtol=0, atol=1e-6)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_equals_basicsr_functions(scale):
    """Y enlarged by a network, Cb and Cr by imresize, back to RGB by ycbcr2rgb."""
    rgb = colours()
    ycbcr = rgb2ycbcr(array(rgb))
    restored = np.repeat(np.repeat(1 - ycbcr[..., :1], scale, 0), scale, 1)
    expected = ycbcr2rgb(np.concatenate([restored, imresize(np.ascontiguousarray(ycbcr[..., 1:]), scale)], axis=2))
    got = through_luma(lambda y: 1 - y.repeat_interleave(scale, -1).repeat_interleave(scale, -2), rgb, scale)
    np.testing.assert_allclose(array(got), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_networks_take_and_return_colour_in_both_modes(name, scale):
    net = loosened(make(name, upscale=scale, **NETWORKS[name])).eval()
    rgb = colours().double()
    out = net(rgb)
    assert torch.equal(net.train()(rgb), out)
    assert out.shape == (1, 3, 12 * scale, 15 * scale)
    ycbcr, source = rgb_to_ycbcr(out), rgb_to_ycbcr(rgb)
    torch.testing.assert_close(ycbcr[:, :1], net(source[:, :1]))
    torch.testing.assert_close(ycbcr[:, 1:], bicubic_upscale(source[:, 1:], scale))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', NETWORKS)
def test_halves(name, dtype):
    net = loosened(make(name, upscale=2, **NETWORKS[name])).eval()
    rgb = (0.25 + colours() / 2).to(dtype)
    expected = net(rgb.double())
    got = net.to(dtype)(rgb)
    assert got.dtype == dtype
    scale = expected.abs().max().item()
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=scale * (0.01 if dtype == torch.float16 else 0.06))
