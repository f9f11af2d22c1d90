"""ESPCN: the image enlarged in the last step, by sub-pixel convolution."""

from collections.abc import Sequence

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ext_arch.luma import LumaNetwork

_DETAIL_GAIN = 40


@ARCH_REGISTRY.register()
class ESPCN(LumaNetwork):
    """Three convolutions at LR size; the channels of the last one are the pixels of an HR block.

    conv 5 (f1) tanh, conv 3 (f2) tanh, conv 3 (num_out_ch r^2), shuffle,   r = upscale

    HR pixel (r y + i, r x + j) of channel c is LR pixel (y, x) of channel c r^2 + r i + j. The output is linear.

    Args:
        num_in_ch (int), num_out_ch (int): The same number: 1 for luminance, 3 for RGB. Default: 1.
        num_feat (Sequence[int]): f1 and f2. Default: (64, 32).
        upscale (int): 2, 3 or 4. Default: 4.

    Shape, Raises: As :class:`ext_arch.luma.LumaNetwork`.

    Reference: Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
    Neural Network, CVPR 2016. 24,752 parameters for one channel at scale 4; 22,729 at 3, 21,284 at 2. The paper does
    not say how weights start; here by Glorot's uniform distribution, biases from 0, and most of the first filters with
    mean zero and 40 times as large. Details are some hundredths of the range: without that factor they stay where tanh
    is linear, and so does the network (docs/small_networks.md).
    """

    def __init__(self, num_in_ch: int = 1, num_out_ch: int = 1, num_feat: Sequence[int] = (64, 32), upscale: int = 4):
        super().__init__(num_in_ch, num_out_ch, upscale)
        if len(num_feat) != 2:
            raise ValueError(f'num_feat must be the two numbers of features, but is {list(num_feat)}.')
        many, few = num_feat
        self.conv1 = nn.Conv2d(num_in_ch, many, 5, padding=2)
        self.conv2 = nn.Conv2d(many, few, 3, padding=1)
        self.conv3 = nn.Conv2d(few, num_out_ch * upscale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(upscale)
        for layer in (self.conv1, self.conv2, self.conv3):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        _see_details(self.conv1.weight)

    def restore(self, x: Tensor) -> Tensor:
        features = self.conv1(x).tanh()
        return self.shuffle(self.conv3(self.conv2(features).tanh()))


@torch.no_grad()
def _see_details(filters: Tensor) -> None:
    """Leave an eighth of the filters as they are, for the brightness; the others answer to details, strongly."""
    details = filters[max(1, len(filters) // 8) :]
    details -= details.mean((1, 2, 3), keepdim=True)
    details *= _DETAIL_GAIN
