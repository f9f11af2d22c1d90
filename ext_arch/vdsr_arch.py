"""VDSR: very deep, with a global residual."""

import itertools

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ext_arch.luma import EnlargedInputNetwork


@ARCH_REGISTRY.register()
class VDSR(EnlargedInputNetwork):
    """Many 3 x 3 convolutions that add to a bicubic enlargement what it lacks.

    y = up(x),   y + conv(num_out_ch)(ReLU conv(f) ... ReLU conv(f)(y)),   num_conv convolutions, padded with zeros

    Nothing in it depends on the scale but the enlargement: one set of weights serves 2, 3 and 4, if it was trained on
    all of them (``MultiScaleImageDataset`` and ``pre_upsampled: training``).

    Args:
        num_in_ch (int), num_out_ch (int): The same number: 1 for luminance, 3 for RGB. Default: 1.
        num_feat (int): f. Default: 64.
        num_conv (int): Convolutions in all, at least 2. Default: 20.
        bias (bool): Whether convolutions have biases. Default: True.
        upscale (int): 2, 3 or 4. Default: 4.
        pre_upsampled (bool | str): See :class:`ext_arch.luma.EnlargedInputNetwork`. Default: 'never'.

    Shape, Raises: As :class:`ext_arch.luma.EnlargedInputNetwork`.

    Reference: Kim et al., Accurate Image Super-Resolution Using Very Deep Convolutional Networks, CVPR 2016. 665,921
    parameters for one channel, 664,704 without biases. Weights start as there, by He's method: Gaussian with variance
    2 / (fan in), biases 0.
    """

    def __init__(
        self,
        num_in_ch: int = 1,
        num_out_ch: int = 1,
        num_feat: int = 64,
        num_conv: int = 20,
        bias: bool = True,
        upscale: int = 4,
        pre_upsampled: bool | str = 'never',
    ):
        super().__init__(num_in_ch, num_out_ch, upscale, pre_upsampled)
        if num_conv < 2:
            raise ValueError(f'num_conv must be at least 2, but is {num_conv}.')
        widths = [num_in_ch, *[num_feat] * (num_conv - 1), num_out_ch]
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            layer = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=bias)
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            layers += [layer, nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers[:-1])  # no ReLU after the last one

    def restore(self, x: Tensor) -> Tensor:
        enlarged = self.enlarged(x)
        return enlarged + self.body(enlarged)
