"""The degradation network of frequency-separated super-resolution."""

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn


@ARCH_REGISTRY.register()
class DSGANGenerator(nn.Module):
    """Gives a bicubic low-resolution image the look of a real one, at its size: residual blocks and a sigmoid.

    conv(num_in_ch, f) PReLU, num_block x [y + conv(PReLU(conv(y)))], conv(f, num_out_ch) sigmoid,   f = num_feat,
    all kernels 3 x 3, one slope for each PReLU.

    Its input is the bicubic LR image, not the HR image; ``INPUT`` tells models and scripts so. The sigmoid keeps
    the output in (0, 1); black and white are only approached.

    Args:
        num_in_ch (int): Channels of the input. Default: 3.
        num_out_ch (int): Channels of the output. Default: 3.
        num_feat (int): Features between the convolutions. Default: 64.
        num_block (int): Residual blocks. Default: 8.

    Shape:
        Input: (n, num_in_ch, h, w), bicubic LR, range [0, 1]. Output: (n, num_out_ch, h, w), range (0, 1).

    Reference: Fritsche et al., Frequency Separation for Real-World Super-Resolution, ICCVW 2019 (DSGAN). With the
    defaults it has 594,380 parameters, as its code.
    """

    INPUT = 'lq'

    def __init__(self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_block: int = 8):
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 3, padding=1), nn.PReLU())
        self.body = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(num_feat, num_feat, 3, padding=1),
                nn.PReLU(),
                nn.Conv2d(num_feat, num_feat, 3, padding=1),
            )
            for _ in range(num_block)
        )
        self.tail = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Degraded image of a bicubic LR image, see the class."""
        features = self.head(x)
        for block in self.body:
            features = features + block(features)
        return torch.sigmoid(self.tail(features))
