"""The discriminator of PESR and of EDSR's GAN."""

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as normalize_spectrum

STEPS = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2))  # features / num_feat, stride


@ARCH_REGISTRY.register()
class PESRDiscriminator(nn.Module):
    """Eight convolutions that halve the image four times, then two linear layers: one logit an image.

    Each convolution is 3 x 3 without bias, then BatchNorm and LeakyReLU(0.2); features are num_feat times 1, 1, 2, 2,
    4, 4, 8, 8 at strides 1 and 2 in turn. The linear layers have 1024 units and 1. With 64 features and crops of
    96 px it has 23.6 million parameters, with crops of 192 px 80 million: the first linear layer grows with the area.

    Args:
        num_in_ch (int): Channels of the image. Default: 3.
        num_feat (int): Features of the first convolution. Default: 64.
        input_size (int): Side of the images in pixels, a multiple of 16. Default: 96.
        num_hidden (int): Units of the first linear layer. Default: 1024.
        spectral_norm (bool): Divide each weight by its largest singular value. Default: False.

    Shape:
        Input: (n, num_in_ch, input_size, input_size), range [0, 1]. Output: (n, 1), any range.

    Raises:
        ValueError: If input_size is no multiple of 16, or an image has another size.

    Reference: Vu et al., Perception-Enhanced Image Super-Resolution via Relativistic GANs (PESR), ECCVW 2018; Lim et
    al., Enhanced Deep Residual Networks (EDSR), CVPRW 2017, whose code has the same discriminator.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_feat: int = 64,
        input_size: int = 96,
        num_hidden: int = 1024,
        spectral_norm: bool = False,
    ):
        super().__init__()
        if input_size < 16 or input_size % 16:
            raise ValueError(f'input_size must be a multiple of 16, but is {input_size}.')
        self.input_size = input_size

        def maybe_normalized(layer: nn.Module) -> nn.Module:
            return normalize_spectrum(layer) if spectral_norm else layer

        layers: list[nn.Module] = []
        channels = num_in_ch
        for factor, stride in STEPS:
            conv = nn.Conv2d(channels, factor * num_feat, 3, stride, 1, bias=False)
            channels = factor * num_feat
            layers += [maybe_normalized(conv), nn.BatchNorm2d(channels), nn.LeakyReLU(0.2, inplace=True)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            maybe_normalized(nn.Linear(channels * (input_size // 16) ** 2, num_hidden)),
            nn.LeakyReLU(0.2, inplace=True),
            maybe_normalized(nn.Linear(num_hidden, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.input_size, self.input_size):
            raise ValueError(
                f'PESRDiscriminator takes images of {self.input_size} x {self.input_size} (input_size), but got '
                f'{tuple(x.shape[-2:])}.'
            )
        return self.classifier(self.features(x).flatten(1))
