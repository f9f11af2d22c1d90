"""Frozen VGG features: what perceptual losses and feature-space discriminators look at."""

from collections.abc import Collection, Sequence

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from ext_arch.pretrained import load_feature_weights

CONVOLUTIONS_PER_BLOCK = {'vgg16': (2, 2, 3, 3, 3), 'vgg19': (2, 2, 4, 4, 4)}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def vgg_layers(vgg_type: str) -> list[str]:
    """Names of a VGG's layers in order, as BasicSR calls them: conv1_1, relu1_1, ..., pool1, conv2_1, ...

    The index of a name is the N of torchvision's ``features.N``.

    Args:
        vgg_type (str): ``vgg16`` or ``vgg19``.

    Returns:
        list[str]: conv = before its ReLU, relu = after it, pool = after the block's max pooling.

    Raises:
        ValueError: If ``vgg_type`` is neither.
    """
    if not isinstance(vgg_type, str) or vgg_type not in CONVOLUTIONS_PER_BLOCK:
        raise ValueError(f'vgg_type: {vgg_type!r} is not supported; there are {", ".join(CONVOLUTIONS_PER_BLOCK)}.')
    names: list[str] = []
    for block, convolutions in enumerate(CONVOLUTIONS_PER_BLOCK[vgg_type], start=1):
        for number in range(1, convolutions + 1):
            names += [f'conv{block}_{number}', f'relu{block}_{number}']
        names.append(f'pool{block}')
    return names


class FrozenConv2d(nn.Module):
    """3x3 convolution whose weights are buffers.

    Buffers follow the module to its device and are in no optimizer, and code that switches ``requires_grad`` of all
    parameters of a network (as BasicSR does with discriminators) cannot thaw them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, save: bool) -> None:
        super().__init__()
        self.register_buffer('weight', weight, persistent=save)
        self.register_buffer('bias', bias, persistent=save)

        self._cast: tuple = (None, None, None)  # weight, versions and type that the last is a copy of

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, d, h, w)."""
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled(x.device.type) and not torch.compiler.is_compiling():
            # autocast itself would make this copy in every pass
            dtype = torch.get_autocast_dtype(x.device.type)
            source = (weight._version, bias._version, dtype)
            if self._cast[0] is not weight or self._cast[1] != source:
                copies = weight.to(dtype), bias.to(dtype)
                self._cast = weight, source, copies
            weight, bias = self._cast[2]
        return F.conv2d(x, weight, bias, padding=1)


@ARCH_REGISTRY.register()
class VGGFeatures(nn.Module):
    """Chosen layers of an ImageNet VGG, frozen, in one pass that ends at the deepest of them.

    Equal to BasicSR's VGGFeatureExtractor with the same weights, but: the weights come from where
    ``ext_arch.pretrained`` finds them; they are neither trained nor, by default, saved; features are not cloned.
    Gradients flow to the input only.

    Args:
        layers (Sequence[str]): For instance [conv5_4] (before ReLU) or [relu2_2] (after ReLU); see :func:`vgg_layers`.
        vgg_type (str): ``vgg19`` or ``vgg16``. Default: ``vgg19``.
        weights (str | None): Path of a state dict with torchvision's names, ``random`` for untrained weights (tests),
            None for a local file, else torchvision's download. Default: None.
        use_input_norm (bool): Subtract ImageNet's mean and divide by its standard deviation. Default: True.
        range_norm (bool): The input is in [-1, 1] and is brought to [0, 1] first. Default: False.
        save_weights (bool): Put the weights into ``state_dict()``. Default: False.

    Shape:
        Input: (n, 3, h, w) or grey (n, 1, h, w), RGB in [0, 1]; h, w >= 2^(b-1) for layers of block b (16 for conv5_x).
        Output: dictionary from layer to (n, c, h // 2^(b-1), w // 2^(b-1)), in order of depth.

    Raises:
        ValueError, OSError: If a layer or the VGG is unknown, no weights can be had, or (in ``forward``) the input is
            too small.

    Reference: Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015,
    configurations D (VGG16) and E (VGG19).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layers: Sequence[str],
        vgg_type: str = 'vgg19',
        weights: str | None = None,
        use_input_norm: bool = True,
        range_norm: bool = False,
        save_weights: bool = False,
    ) -> None:
        super().__init__()
        self.vgg_type = vgg_type
        self.use_input_norm = use_input_norm
        self.range_norm = range_norm
        names = vgg_layers(vgg_type)
        self.layers = frozenset(_check_layers(layers, vgg_type, names))
        depth = 1 + max(names.index(layer) for layer in self.layers)
        self.vgg_net = self._build(names[:depth], load_feature_weights(vgg_type, weights), save_weights)
        self._keep_layers()
        self.minimum_size = 2 ** sum(name.startswith('pool') for name in names[:depth])
        self.register_buffer('mean', torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def _build(self, names: list[str], state: dict[str, Tensor], save: bool) -> nn.Sequential:
        net = nn.Sequential()
        for index, name in enumerate(names):
            if name.startswith('conv'):
                weight, bias = state[f'features.{index}.weight'], state[f'features.{index}.bias']
                net.add_module(name, FrozenConv2d(weight, bias, save))
            elif name.startswith('relu'):
                net.add_module(name, nn.ReLU())
            else:
                net.add_module(name, nn.MaxPool2d(2))
        return net

    def train(self, mode: bool = True) -> 'VGGFeatures':
        """Stay in evaluation mode, whatever the parent module does."""
        return super().train(False)

    def take_also(self, layers: Sequence[str]) -> None:
        """Return these layers from now on too, for a second user of the same pass.

        Raises:
            ValueError: If one of them is unknown, or deeper than the deepest layer so far.
        """
        for layer in layers:
            if layer not in self.vgg_net._modules:
                deepest = next(reversed(self.vgg_net._modules))
                raise ValueError(f'These VGG features end at {deepest}, so they do not have {layer!r}.')
        self.layers |= frozenset(layers)
        self._keep_layers()

    def difference(self, other: 'VGGFeatures') -> str | None:
        """Why this network cannot stand in for another, or None where it can, after :meth:`take_also`."""
        if other.vgg_type != self.vgg_type:
            return f'one is {self.vgg_type}, the other {other.vgg_type}'
        missing = [layer for layer in other.layers if layer not in self.vgg_net._modules]
        if missing:
            return f'one ends before {", ".join(missing)}'
        if (other.use_input_norm, other.range_norm) != (self.use_input_norm, self.range_norm):
            return 'they normalise images differently (use_input_norm, range_norm)'
        ours, theirs = self.state_of(), other.state_of()
        same = all(torch.equal(ours[name], weight) for name, weight in theirs.items() if name in ours)
        return None if same else 'they have different weights'

    def state_of(self) -> dict[str, Tensor]:
        """The weights by their layers' names, whether they are saved or not."""
        return dict(self.vgg_net.named_buffers())

    def _keep_layers(self) -> None:
        """In place a ReLU saves a feature map, but would overwrite a convolution's output that was asked for."""
        before = None
        for name, layer in self.vgg_net.named_children():
            if isinstance(layer, nn.ReLU):
                layer.inplace = before not in self.layers
            before = name

    def forward(self, x: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
        """Features of a batch of images, see the class; with ``only`` of some of its layers, and no deeper."""
        if min(x.shape[-2:]) < self.minimum_size:
            deepest = next(reversed(self.vgg_net._modules))
            raise ValueError(
                f'Images of {x.shape[-2]}x{x.shape[-1]} px are too small for VGG layer {deepest}, which needs at least '
                f'{self.minimum_size} px: enlarge gt_size or choose a shallower layer, for instance relu2_2.'
            )
        if self.range_norm:
            x = (x + 1) / 2
        x = x.expand(-1, 3, -1, -1)  # grey counts as three equal channels
        if self.use_input_norm:
            x = (x - self.mean) / self.std
        wanted = self.layers if only is None else frozenset(only)
        features: dict[str, Tensor] = {}
        for name, layer in self.vgg_net.named_children():
            x = layer(x)
            if name in wanted:
                features[name] = x
                if len(features) == len(wanted):
                    break
        return features


def _check_layers(layers: Sequence[str], vgg_type: str, names: list[str]) -> Sequence[str]:
    if isinstance(layers, str) or not layers:
        raise ValueError(f'VGG layers must be a list of one or more names such as [conv5_4], not {layers!r}.')
    for layer in layers:
        if layer not in names:
            block = layer.split('_')[0][-1:]
            in_block = [name for name in names if name.startswith(f'conv{block}_')]
            last = (
                f'its last convolution of block {block} is {in_block[-1]}'
                if in_block
                else 'layers are conv1_1, relu1_1, ...'
            )
            raise ValueError(f'{vgg_type} has no layer {layer!r}; {last}.')
    return layers
