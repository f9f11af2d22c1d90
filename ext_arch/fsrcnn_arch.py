"""FSRCNN: the small features at LR size, enlarged by a deconvolution at the end."""

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ext_arch.luma import LumaNetwork

_SLOPE = 0.25  # of PReLU at the start


@ARCH_REGISTRY.register()
class FSRCNN(LumaNetwork):
    """Extraction, shrinking, mapping, expanding and deconvolution, with PReLUs (one slope a channel) between them.

    conv 5 (d), conv 1 (s), m times conv 3 (s), conv 1 (d), deconv 9 (num_out_ch, stride upscale)

    The deconvolution is cut so that the output is exactly ``upscale`` times the input. Its kernel's centre lies on the
    first of the upscale x upscale pixels of an LR pixel; training shifts the kernel's content to where it belongs.

    Args:
        num_in_ch (int), num_out_ch (int): The same number: 1 for luminance, 3 for RGB. Default: 1.
        d (int): Features outside. Default: 56.
        s (int): Features inside. Default: 12.
        m (int): Convolutions of the mapping. Default: 4.
        upscale (int): 2, 3 or 4. Default: 4.

    Shape, Raises: As :class:`ext_arch.luma.LumaNetwork`.

    Reference: Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016. For one channel
    12,464 weights, as printed there, 173 biases and 172 slopes: 12,809 parameters at every scale. Weights start as
    there: He's method for PReLU, the deconvolution from a Gaussian of standard deviation 0.001; biases 0, slopes 0.25.
    """

    def __init__(self, num_in_ch: int = 1, num_out_ch: int = 1, d: int = 56, s: int = 12, m: int = 4, upscale: int = 4):
        super().__init__(num_in_ch, num_out_ch, upscale)
        if min(d, s) < 1 or m < 0:
            raise ValueError(f'd and s must be at least 1 and m at least 0, but they are {d}, {s} and {m}.')
        self.extract = _convolution(num_in_ch, d, 5)
        self.shrink = _convolution(d, s, 1)
        self.mapping = nn.Sequential(*(_convolution(s, s, 3) for _ in range(m)))
        self.expand = _convolution(s, d, 1)
        # (h - 1) upscale - 2 * 4 + 9 + (upscale - 1) = upscale h
        self.deconv = nn.ConvTranspose2d(d, num_out_ch, 9, upscale, padding=4, output_padding=upscale - 1)
        nn.init.normal_(self.deconv.weight, std=0.001)
        nn.init.zeros_(self.deconv.bias)  # type: ignore[arg-type]

    def restore(self, x: Tensor) -> Tensor:
        features = self.mapping(self.shrink(self.extract(x)))
        return self.deconv(self.expand(features))


def _convolution(num_in: int, num_out: int, kernel: int) -> nn.Sequential:
    layer = nn.Conv2d(num_in, num_out, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.PReLU(num_out, init=_SLOPE))
