"""The network of two-stage domain adaptation that makes low-resolution images from high-resolution ones."""

from collections.abc import Sequence

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ext_arch.unseen_arguments import NotesArguments


@ARCH_REGISTRY.register()
class DegradationNet(NotesArguments):
    """Learnt downscaling: four convolutions with PReLUs between them; the second has the scale as its stride.

    conv(num_in_ch, f) PReLU, conv(f, f, stride scale) PReLU, conv(f, f) PReLU, conv(f, num_out_ch),   f = num_feat

    The receptive field at scale 4 is 23 x 23 HR pixels: wide enough for the blur of a lens. The output is linear, and
    may leave [0, 1]; clip and round it where LR images are written.

    **Half-pixel shift.** A bicubic LR pixel n is centred on the HR coordinate scale * n + (scale - 1) / 2. The strided
    convolution is centred on scale * n at scales 2 and 4, so (scale - 1) / (2 scale) LR pixels up and to the left:
    0.25 and 0.375. An odd kernel with an even stride cannot be centred; at 4 this is the published padding. At scale 3
    it can, and is: its padding is one less. The pixel loss to the bicubic LR teaches the network the remaining shift
    within some hundred iterations; without that loss LR and HR stay misaligned.

    Args:
        num_in_ch (int): Channels of the HR image. Default: 3.
        num_out_ch (int): Channels of the LR image. Default: 3.
        num_feat (int): Features between the convolutions. Default: 56.
        scale (int): 2, 3 or 4. Default: 4.
        kernel_sizes (Sequence[int]): Of the four convolutions, odd; the second at least the scale, so that no HR pixel
            is skipped. Default: (3, 5, 3, 3).
        prelu (str): 'shared': one slope for all channels; 'channel': one for each. Default: 'shared'.
        output_act (str): 'none'; 'sigmoid'; or 'clamp' to [0, 1], through which pixels outside get no gradient.
            Default: 'none'.

    Shape:
        Input: (n, num_in_ch, h, w), range [0, 1], h and w multiples of scale.
        Output: (n, num_out_ch, h / scale, w / scale).

    Raises:
        ValueError: If an argument has a value that is not listed, or (in ``forward``) h or w is no multiple of scale.

    Reference: two-stage domain adaptation, stage 1. Its text gives 56 features, the strided convolution (kernel 5,
    stride 4, padding 2) and PReLU; the other kernels, the sharing of slopes and the linear output are our readings.
    With the defaults it has 109,822 parameters.
    """

    UNSEEN = ('scale', 'output_act')

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 56,
        scale: int = 4,
        kernel_sizes: Sequence[int] = (3, 5, 3, 3),
        prelu: str = 'shared',
        output_act: str = 'none',
    ):
        super().__init__()
        if scale not in (2, 3, 4):
            raise ValueError(f'scale must be 2, 3 or 4, but is {scale}.')
        _check_kernels(kernel_sizes, scale)
        if prelu not in ('shared', 'channel'):
            raise ValueError(f"prelu must be 'shared' or 'channel', but is '{prelu}'.")
        if output_act not in ('none', 'sigmoid', 'clamp'):
            raise ValueError(f"output_act must be 'none', 'sigmoid' or 'clamp', but is '{output_act}'.")
        self.scale = scale
        self.output_act = output_act
        first, strided, third, last = kernel_sizes
        # centred on the scale x scale block where the parity allows, else on its first pixel; both give h / scale
        padding = (strided - scale) // 2 if scale % 2 else strided // 2
        slopes = num_feat if prelu == 'channel' else 1
        self.body = nn.Sequential(
            nn.Conv2d(num_in_ch, num_feat, first, padding=first // 2),
            nn.PReLU(slopes),
            nn.Conv2d(num_feat, num_feat, strided, stride=scale, padding=padding),
            nn.PReLU(slopes),
            nn.Conv2d(num_feat, num_feat, third, padding=third // 2),
            nn.PReLU(slopes),
            nn.Conv2d(num_feat, num_out_ch, last, padding=last // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """LR image of an HR image, see the class."""
        height, width = x.shape[-2:]
        if height % self.scale or width % self.scale:
            raise ValueError(
                f'DegradationNet reduces by {self.scale}, but got an image of {height} x {width} (height x width). '
                f'Crop both to a multiple of {self.scale}.'
            )
        lr = self.body(x)
        if self.output_act == 'sigmoid':
            return torch.sigmoid(lr)
        return lr.clamp(0, 1) if self.output_act == 'clamp' else lr


def _check_kernels(kernel_sizes: Sequence[int], scale: int) -> None:
    if len(kernel_sizes) != 4 or any(size < 1 or size % 2 == 0 for size in kernel_sizes):
        raise ValueError(f'kernel_sizes must be four odd numbers, but is {list(kernel_sizes)}.')
    if kernel_sizes[1] < scale:
        raise ValueError(
            f'kernel_sizes: the second, strided kernel is {kernel_sizes[1]} px wide and would skip pixels at scale '
            f'{scale}. Choose at least {scale + (scale + 1) % 2}.'
        )
