"""SRResNet as its paper has it: with batch normalisation. BasicSR's MSRResNet has none, and another skip."""

import math

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + BN(conv(PReLU(BN(conv(x))))), 3 x 3 convolutions without biases, which the normalisation would take away."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_feat),
            nn.PReLU(),
            nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_feat),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


@ARCH_REGISTRY.register()
class SRResNet(nn.Module):
    """Residual blocks with batch normalisation, a skip around all of them, and pixel shuffles.

    f = PReLU(conv9(x)),   g = f + BN(conv3(blocks(f))),   y = conv9(up(g)),   up: PReLU(shuffle(conv3)) once or twice

    Each PReLU has one slope. In training the output for one image depends on the others of its batch, so neither
    several processes nor ``train:accumulate`` equal one pass of the whole batch.

    Args:
        num_in_ch (int): Channels of the LR image. Default: 3.
        num_out_ch (int): Channels of the HR image. Default: 3.
        num_feat (int): Features. Default: 64.
        num_block (int): Residual blocks. Default: 16.
        upscale (int): 2, 3 or 4. Default: 4.

    Shape:
        x: (n, num_in_ch, h, w), range [0, 1]. Output: (n, num_out_ch, upscale * h, upscale * w), not clipped.

    Raises:
        ValueError: If upscale is another number.

    Reference: Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR
    2017 (SRGAN), figure 4: 1,547,350 parameters at scale 4.
    """

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_block: int = 16, upscale: int = 4
    ):
        super().__init__()
        if upscale not in (2, 3, 4):
            raise ValueError(f'upscale must be 2, 3 or 4, but is {upscale}.')
        self.head = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *(ResidualBlock(num_feat) for _ in range(num_block)),
            nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_feat),
        )
        factors = [3] if upscale == 3 else [2] * int(math.log2(upscale))
        self.up = nn.Sequential()
        for factor in factors:
            self.up.append(nn.Conv2d(num_feat, num_feat * factor**2, 3, padding=1))
            self.up.append(nn.PixelShuffle(factor))
            self.up.append(nn.PReLU())
        self.tail = nn.Conv2d(num_feat, num_out_ch, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(x)
        return self.tail(self.up(features + self.body(features)))
