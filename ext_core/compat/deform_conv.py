"""Deformable convolution in plain PyTorch, for installations whose torchvision has no compiled operators."""

import torch
import torch.nn.functional as F


def deform_conv2d(
    input: torch.Tensor,
    offset: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Convolution whose taps are displaced per output pixel; same arguments as ``torchvision.ops.deform_conv2d``.

    Every tap's input value is sampled (bilinear, zero outside) into an image in which the kh x kw taps of an output
    pixel lie side by side; an ordinary convolution with stride (kh, kw) then sums them. It holds kh * kw times the
    memory of the input at the output's size.

    Args:
        input (Tensor): Features.
        offset (Tensor): Displacements in pixels, per tap first of the row, then of the column.
        weight (Tensor): Kernel.
        bias (Tensor | None): Added per output channel. Default: None.
        stride (int | tuple[int, int]): Step between output pixels. Default: 1.
        padding (int | tuple[int, int]): Zeros around the input. Default: 0.
        dilation (int | tuple[int, int]): Distance between taps. Default: 1.
        mask (Tensor | None): Factor on every tap (version 2 of the paper). Default: None.

    Shape:
        input: (n, c, h, w); offset: (n, 2 * g * kh * kw, oh, ow) with g offset groups; weight: (o, c / groups, kh, kw);
        mask: (n, g * kh * kw, oh, ow). Output: (n, o, oh, ow).

    Raises:
        ValueError: If the channels of offset or mask do not fit the kernel.

    Reference: Dai et al., Deformable Convolutional Networks, ICCV 2017, Eq. 2; Zhu et al., Deformable ConvNets v2,
    CVPR 2019, Eq. 1 (mask).
    """
    batch, channels, height, width = input.shape
    rows, columns = weight.shape[2:]
    out_height, out_width = offset.shape[2:]
    groups, rest = divmod(offset.shape[1], 2 * rows * columns)
    if rest or not groups or (mask is not None and mask.shape[1] != groups * rows * columns):
        raise ValueError(
            f'offset with {offset.shape[1]} channels and mask with {None if mask is None else mask.shape[1]} do not '
            f'fit a kernel of {rows} x {columns}: 2 * g * {rows * columns} and g * {rows * columns} are needed'
        )
    strides, paddings, dilations = (_pair(value) for value in (stride, padding, dilation))

    def side_by_side(per_tap: torch.Tensor) -> torch.Tensor:
        """(n, g * kh * kw, oh, ow) -> (n * g, oh * kh, ow * kw)"""
        per_tap = per_tap.reshape(batch * groups, rows, columns, out_height, out_width)
        return per_tap.permute(0, 3, 1, 4, 2).reshape(batch * groups, out_height * rows, out_width * columns)

    def undisplaced(size: int, taps: int, axis: int) -> torch.Tensor:
        """Input position of every tap along one axis: (size * taps,)"""
        starts = torch.arange(size, device=input.device, dtype=input.dtype) * strides[axis] - paddings[axis]
        steps = torch.arange(taps, device=input.device, dtype=input.dtype) * dilations[axis]
        return (starts[:, None] + steps).flatten()

    by_axis = offset.view(batch, groups * rows * columns, 2, out_height, out_width)
    y = undisplaced(out_height, rows, 0)[:, None] + side_by_side(by_axis[:, :, 0])
    x = undisplaced(out_width, columns, 1) + side_by_side(by_axis[:, :, 1])
    # grid_sample counts from -1 at the outer edge of the first pixel to 1 at that of the last
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    features = input.reshape(batch * groups, channels // groups, height, width)
    taps = F.grid_sample(features, grid, mode='bilinear', padding_mode='zeros', align_corners=False)
    if mask is not None:
        taps = taps * side_by_side(mask)[:, None]
    taps = taps.reshape(batch, channels, out_height * rows, out_width * columns)
    return F.conv2d(taps, weight, bias, stride=(rows, columns), groups=channels // weight.shape[1])


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
