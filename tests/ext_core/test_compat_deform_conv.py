"""The deformable convolution in plain PyTorch against ordinary convolution and against its definition."""

import pytest
import torch
import torch.nn.functional as F

from ext_core.compat.deform_conv import deform_conv2d

LAYERS = [
    {'stride': 1, 'padding': 1, 'dilation': 1},
    {'stride': 2, 'padding': 0, 'dilation': 1},
    {'stride': (2, 1), 'padding': (1, 2), 'dilation': (1, 2)},
]


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('layer', LAYERS)
def test_zero_offset_is_conv2d(layer: dict, groups: int) -> None:
    x, weight, bias = rand(2, 4, 7, 9), rand(6, 4 // groups, 3, 2, seed=1), rand(6, seed=2)
    expected = F.conv2d(x, weight, bias, groups=groups, **layer)
    offset = torch.zeros(2, 2 * 2 * 6, *expected.shape[2:], dtype=torch.float64)
    torch.testing.assert_close(deform_conv2d(x, offset, weight, bias, **layer), expected)


@pytest.mark.parametrize(('dy', 'dx'), [(1, 0), (-2, 3), (20, 0)])
def test_integer_offset_is_conv2d_of_shifted_input(dy: int, dx: int) -> None:
    x, weight = rand(1, 2, 8, 8), rand(3, 2, 3, 3, seed=1)
    offset = torch.tensor([dy, dx], dtype=torch.float64).repeat(9).view(1, 18, 1, 1).expand(1, 18, 8, 8)
    shifted = F.pad(x, (32, 32, 32, 32))[:, :, 31 + dy : 41 + dy, 31 + dx : 41 + dx]
    torch.testing.assert_close(deform_conv2d(x, offset, weight, padding=1), F.conv2d(shifted, weight))


def by_definition(x: torch.Tensor, offset: torch.Tensor, weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Eq. 1 of Deformable ConvNets v2 as loops over pixels and taps; stride 1, padding 1, kernel 3 x 3, batch 1."""
    (_, channels, height, width), (out_channels, per_group) = x.shape, weight.shape[:2]
    offset_groups = mask.shape[1] // 9
    out = torch.zeros(1, out_channels, height, width, dtype=x.dtype)
    for o in range(out_channels):
        first = o // (out_channels // (channels // per_group)) * per_group
        for i in range(height):
            for j in range(width):
                for c in range(per_group):
                    group = (first + c) // (channels // offset_groups)
                    for tap in range(9):
                        k = group * 9 + tap
                        y = i - 1 + tap // 3 + offset[0, 2 * k, i, j].item()
                        z = j - 1 + tap % 3 + offset[0, 2 * k + 1, i, j].item()
                        value = sum(
                            x[0, first + c, row, column] * max(0, 1 - abs(y - row)) * max(0, 1 - abs(z - column))
                            for row in range(height)
                            for column in range(width)
                        )
                        out[0, o, i, j] += weight[o, c, tap // 3, tap % 3] * mask[0, k, i, j] * value
    return out


@pytest.mark.parametrize(('width', 'groups', 'offset_groups'), [(3, 1, 1), (3, 2, 1), (1, 1, 2), (2, 2, 4)])
def test_equals_definition(width: int, groups: int, offset_groups: int) -> None:
    x, weight = rand(1, 4, 2, width), rand(2, 4 // groups, 3, 3, seed=1)
    offset = 4 * rand(1, 18 * offset_groups, 2, width, seed=2) - 2
    mask = rand(1, 9 * offset_groups, 2, width, seed=3)
    expected = by_definition(x, offset, weight, mask)
    torch.testing.assert_close(deform_conv2d(x, offset, weight, padding=1, mask=mask), expected)


def test_gradients() -> None:
    # offsets away from integers, where bilinear interpolation has no derivative
    offset = (0.2 + 0.6 * rand(1, 36, 2, 2, seed=2)).requires_grad_()
    inputs = (rand(1, 2, 4, 4), offset, rand(2, 1, 3, 3, seed=1), rand(2, seed=4), rand(1, 18, 2, 2, seed=3))
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, offset, weight, bias, mask: deform_conv2d(x, offset, weight, bias, mask=mask), inputs
    )


def test_channels_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match='offset with 17 channels'):
        deform_conv2d(rand(1, 2, 4, 4), rand(1, 17, 2, 2), rand(2, 2, 3, 3))
    with pytest.raises(ValueError, match='mask with 8'):
        deform_conv2d(rand(1, 2, 4, 4), rand(1, 18, 2, 2), rand(2, 2, 3, 3), mask=rand(1, 8, 2, 2))
