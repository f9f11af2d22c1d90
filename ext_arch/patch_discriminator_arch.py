"""The patch discriminator of frequency-separated super-resolution, for images of any size."""

from collections.abc import Callable

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

NORMS: dict[str, Callable[[int], nn.Module]] = {
    'instance': lambda channels: nn.InstanceNorm2d(channels, affine=True),
    'batch': nn.BatchNorm2d,
    'none': lambda channels: nn.Identity(),
}


@ARCH_REGISTRY.register()
class PatchDiscriminator(nn.Module):
    """One logit for each pixel and its surroundings: three 5 x 5 convolutions and one of 1 x 1, all of stride 1.

    conv(num_in_ch, f) LReLU, conv(f, 2f) norm LReLU, conv(2f, 4f) norm LReLU, conv1x1(4f, 1),   f = num_feat,
    LReLU of slope 0.2, borders padded with zeros.

    The receptive field is 13 x 13 pixels, so texture is judged and not content. Without strides the features are as
    large as the image: 448 values a pixel after the convolutions alone, at 512 x 512 and batch 6 already 2.8 GB in
    float32, and several times that in training.

    Args:
        num_in_ch (int): Channels of the image. Default: 3.
        num_feat (int): Features of the first convolution. Default: 64.
        norm (str): 'instance', with learnt scale and shift; 'batch'; or 'none'. With 'instance' the logits of an image
            depend on that image alone. Default: 'instance'.

    Shape:
        Input: (n, num_in_ch, h, w), any range; with 'instance' more than one pixel in training.
        Output: (n, 1, h, w), any range.

    Raises:
        ValueError: If norm is none of these.

    Reference: Fritsche et al., Frequency Separation for Real-World Super-Resolution, ICCVW 2019, whose code ends in a
    sigmoid; here the loss has it. With the defaults, or 'batch', it has 1,030,273 parameters.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, norm: str = 'instance'):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f'norm must be one of {", ".join(NORMS)}, but is {norm!r}.')
        self.body = nn.Sequential(
            nn.Conv2d(num_in_ch, num_feat, 5, padding=2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(num_feat, 2 * num_feat, 5, padding=2),
            NORMS[norm](2 * num_feat),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * num_feat, 4 * num_feat, 5, padding=2),
            NORMS[norm](4 * num_feat),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(4 * num_feat, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits, see the class."""
        return self.body(x)
