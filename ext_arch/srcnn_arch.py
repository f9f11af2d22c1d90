"""SRCNN: the first super-resolution network."""

from collections.abc import Sequence

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ext_arch.luma import EnlargedInputNetwork


@ARCH_REGISTRY.register()
class SRCNN(EnlargedInputNetwork):
    """Three convolutions on a bicubic enlargement: patches, their mapping, reconstruction.

    up(x), conv k1 (f1) ReLU, conv k2 (f2) ReLU, conv k3 (num_out_ch)

    The convolutions are padded with zeros, where the paper's shrink the image: a border of (k1 + k2 + k3 - 3) / 2
    pixels differs. Scoring leaves out as many pixels as the scale.

    Args:
        num_in_ch (int), num_out_ch (int): The same number: 1 for luminance, 3 for RGB. Default: 1.
        num_feat (Sequence[int]): f1 and f2. Default: (64, 32).
        kernel_sizes (Sequence[int]): k1, k2, k3, odd. (9, 1, 5) is the first version. Default: (9, 5, 5).
        upscale (int): 2, 3 or 4. Default: 4.
        pre_upsampled (bool | str): See :class:`ext_arch.luma.EnlargedInputNetwork`. Default: 'never'.

    Shape, Raises: As :class:`ext_arch.luma.EnlargedInputNetwork`.

    Reference: Dong et al., Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016. 57,281 parameters for
    one channel, 8,129 with 9-1-5. As there, weights start from a Gaussian of standard deviation 0.001, biases from 0.
    """

    def __init__(
        self,
        num_in_ch: int = 1,
        num_out_ch: int = 1,
        num_feat: Sequence[int] = (64, 32),
        kernel_sizes: Sequence[int] = (9, 5, 5),
        upscale: int = 4,
        pre_upsampled: bool | str = 'never',
    ):
        super().__init__(num_in_ch, num_out_ch, upscale, pre_upsampled)
        if len(kernel_sizes) != 3 or any(size < 1 or size % 2 == 0 for size in kernel_sizes):
            raise ValueError(f'kernel_sizes must be three odd numbers, but is {list(kernel_sizes)}.')
        if len(num_feat) != 2:
            raise ValueError(f'num_feat must be the two numbers of features, but is {list(num_feat)}.')
        (patches, mapping, reconstruction), (many, few) = kernel_sizes, num_feat
        self.conv1 = nn.Conv2d(num_in_ch, many, patches, padding=patches // 2)
        self.conv2 = nn.Conv2d(many, few, mapping, padding=mapping // 2)
        self.conv3 = nn.Conv2d(few, num_out_ch, reconstruction, padding=reconstruction // 2)
        for layer in (self.conv1, self.conv2, self.conv3):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def restore(self, x: Tensor) -> Tensor:
        features = self.conv1(self.enlarged(x)).relu()
        return self.conv3(self.conv2(features).relu())
