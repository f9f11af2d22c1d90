"""The discriminator of the VGG-energy GAN: an autoencoder on a frozen VGG, whose error is an image's energy."""

import hashlib
from collections.abc import Collection, Iterable
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ext_arch.vgg_features_arch import CONVOLUTIONS_PER_BLOCK, VGGFeatures, vgg_layers

_CHANNELS = (64, 128, 256, 512, 512)  # of VGG's blocks
_OUTPUTS = {'none': nn.Identity, 'tanh': nn.Tanh}
_SPACES = ('pixel', 'feature')


class DecoderLevel(nn.Module):
    """Double the resolution, put the encoder's features of that level beside it, convolve.

    Args:
        num_in_ch, num_out_ch (int): Channels of the lower level and of this one.
        skip (bool): Whether this level gets the encoder's features, of ``num_out_ch`` channels.
        num_conv (int): 3x3 convolutions with ReLU.
    """

    def __init__(self, num_in_ch: int, num_out_ch: int, skip: bool, num_conv: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(num_in_ch, num_out_ch, 2, 2)
        self.skip = skip
        layers: list[nn.Module] = []
        for index in range(num_conv):
            doubled = 2 if skip and index == 0 else 1
            layers += [nn.Conv2d(doubled * num_out_ch, num_out_ch, 3, padding=1), nn.ReLU(inplace=True)]
        self.convs = nn.Sequential(*layers)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """(n, num_in_ch, h, w) and (n, num_out_ch, 2h, 2w) to (n, num_out_ch, 2h, 2w)."""
        x = self.up(x)
        return self.convs(torch.cat([x, features], dim=1) if self.skip else x)


@ARCH_REGISTRY.register()
class VGGUAE(nn.Module):
    """U-Net autoencoder with a frozen VGG as its encoder. Its squared error is the energy of an image, in each place.

    AE(x) = decoder(VGG(x)) is to be t = 2 x - 1. The network returns (AE(x) - t)^2 for every pixel and channel; its
    mean over an image is the energy U(x) of that image, which ``EnergyGANLoss`` takes.

    **The encoder** is not trained: it has no parameters, so no optimizer, gradient reduction or switch of
    ``requires_grad`` reaches it, yet gradients pass through it to the image. Its weights are not in ``state_dict``;
    their SHA-256 is, and weights that were trained on another encoder are refused. ``forward`` can return its features
    of the image, so that a content loss on the same VGG costs no pass of its own.

    **The copy problem.** A skip connection at full resolution could carry the image past the bottleneck, with zero
    energy for anything. VGG's first block is no free copy, and without that skip (``skips: [2, 3, 4]``) the energy
    tells noise and sharpening apart worse. But whatever the skips, an autoencoder trained on real images alone gives
    *blurred* ones a lower energy than real ones, for smooth images are easier: such an energy would teach the generator
    to blur. So all four skips are the default, and the cure is the objective's: generated images get a high energy, up
    to a margin (``EnergyGANLoss``).

    Under autocast the convolutions follow it; the last one, of three channels, and the errors are computed in float32.

    Args:
        vgg_type (str): ``vgg19`` or ``vgg16``. Default: ``vgg19``.
        weights (str | None): Of the VGG: a path, ``random`` (tests), or None, see ``VGGFeatures``. Default: None.
        num_conv (int): Convolutions on each level of the decoder; 2 is U-Net's number. Default: 2.
        skips (Collection[int]): Levels with a skip connection, 1 is full resolution. Default: (1, 2, 3, 4).
        bottleneck (str | None): Layer of VGG's block 5; None is its last, after ReLU. Default: None.
        out_act (str): ``none`` or ``tanh``, after the last convolution. Default: ``none``.
        energy_space (str): ``pixel``, or ``feature``: the energy is the squared difference between VGG's features of
            (AE(x) + 1) / 2 and of x, at ``energy_layer``. Default: ``pixel``.
        energy_layer (str): For ``feature`` only. Default: ``relu2_2``.

    Shape:
        Input: (n, 3, h, w), RGB in [0, 1], h and w multiples of 16.
        Output: (n, 3, h, w), values >= 0; with ``feature`` (n, c, h', w') of the layer.

    Raises:
        ValueError: If an argument is none of the above.
        ValueError, OSError: If VGG's weights cannot be had, the layer is unknown, the size of images is not a multiple
            of 16, or (in ``load_state_dict``) the weights belong to another encoder.

    Reference: VGG-energy GAN, fig. 3 and eq. 4, read as an autoencoder of the image; Ronneberger et al., U-Net:
    Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015.
    """

    SIZE_MULTIPLE = 2 ** (len(_CHANNELS) - 1)  # four poolings
    encoder_sha256: Tensor

    def __init__(
        self,
        vgg_type: str = 'vgg19',
        weights: str | None = None,
        num_conv: int = 2,
        skips: Collection[int] = (1, 2, 3, 4),
        bottleneck: str | None = None,
        out_act: str = 'none',
        energy_space: str = 'pixel',
        energy_layer: str = 'relu2_2',
    ):
        super().__init__()
        _check(vgg_type, num_conv, skips, bottleneck, out_act, energy_space)
        last = [f'relu{block}_{count}' for block, count in enumerate(CONVOLUTIONS_PER_BLOCK[vgg_type], start=1)]
        self.taps = last[:-1]
        self.bottleneck = bottleneck or last[-1]
        self.energy_layer = energy_layer if energy_space == 'feature' else None
        layers = [*self.taps, self.bottleneck, *filter(None, [self.energy_layer])]
        self.encoder = VGGFeatures(layers, vgg_type, weights)
        self.levels = nn.ModuleList(
            DecoderLevel(_CHANNELS[level], _CHANNELS[level - 1], level in skips, num_conv)
            for level in range(len(self.taps), 0, -1)
        )
        self.last = nn.Sequential(nn.Conv2d(_CHANNELS[0], 3, 3, padding=1), _OUTPUTS[out_act]())
        self.register_buffer('encoder_sha256', _digest(self.encoder.buffers()))

    def forward(self, x: Tensor, return_features: bool = False) -> Any:
        """Squared errors; with ``return_features`` also the encoder's features of ``x``, by their layers' names."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        features = self._encode(x)
        reconstruction = self._decode(features)
        if self.energy_layer is None:
            errors = (reconstruction - (2 * x - 1)).square()
        else:
            of_reconstruction = self.encoder((reconstruction + 1) / 2, only=[self.energy_layer])[self.energy_layer]
            errors = (of_reconstruction.to(x.dtype) - features[self.energy_layer]).square()
        return (errors, features) if return_features else errors

    def reconstruct(self, x: Tensor) -> Tensor:
        """AE(x) in the range of images: (n, 3, h, w), about [0, 1]."""
        return (self._decode(self._encode(x)) + 1) / 2

    def _encode(self, x: Tensor) -> dict[str, Tensor]:
        height, width = x.shape[-2:]
        if height % self.SIZE_MULTIPLE or width % self.SIZE_MULTIPLE:
            raise ValueError(
                f'network_d: VGGUAE takes images whose height and width are multiples of {self.SIZE_MULTIPLE}, but got '
                f'{height}x{width} px. Set datasets:train:gt_size to a multiple of {self.SIZE_MULTIPLE}.'
            )
        return self.encoder(x)

    def _decode(self, features: dict[str, Tensor]) -> Tensor:
        x = features[self.bottleneck]
        for level, tap in zip(self.levels, reversed(self.taps), strict=True):
            x = level(x, features[tap])
        with torch.autocast(x.device.type, enabled=False):
            return self.last(x.to(torch.promote_types(x.dtype, torch.float32)))

    def _load_from_state_dict(self, state_dict, prefix, *args: Any) -> None:
        saved = state_dict.get(f'{prefix}encoder_sha256')
        if saved is not None and not torch.equal(saved.cpu(), self.encoder_sha256.cpu()):
            raise ValueError(
                'network_d: these weights of VGGUAE were trained on another VGG than this one, so the decoder would '
                'not fit. Give network_d the vgg_type and the weights of that training.'
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def _check(vgg_type: str, num_conv: int, skips: Any, bottleneck: str | None, out_act: str, energy_space: str) -> None:
    in_block_5 = [name for name in vgg_layers(vgg_type) if name.startswith(('conv5_', 'relu5_'))]
    if bottleneck is not None and bottleneck not in in_block_5:
        raise ValueError(f'bottleneck must be one of {", ".join(in_block_5)}, but is {bottleneck!r}.')
    if not _is_count(num_conv) or num_conv < 1:
        raise ValueError(f'num_conv must be a whole number from 1 on, but is {num_conv!r}.')
    if not isinstance(skips, Collection) or not all(_is_count(skip) and 0 < skip < len(_CHANNELS) for skip in skips):
        raise ValueError(f'skips must be a list of levels from 1 to {len(_CHANNELS) - 1}, but is {skips!r}.')
    for name, value, known in (('out_act', out_act, _OUTPUTS), ('energy_space', energy_space, _SPACES)):
        if not isinstance(value, str) or value not in known:
            raise ValueError(f'{name} must be one of {", ".join(known)}, but is {value!r}.')


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _digest(weights: Iterable[Tensor]) -> Tensor:
    """SHA-256 of float32 weights in their order, as 32 bytes. Zeros for weights that are on the device 'meta'."""
    sha = hashlib.sha256()
    for weight in weights:
        if weight.is_meta:
            return torch.zeros(sha.digest_size, dtype=torch.uint8)
        sha.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return torch.tensor(list(sha.digest()), dtype=torch.uint8)
