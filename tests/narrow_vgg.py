"""A VGG of a sixteenth of the channels: tests of what is done with its features are quicker."""

import functools
from types import SimpleNamespace

import pytest
import torch
from torchvision.models import vgg

from ext_arch import pretrained, vgg_uae_arch

SHARE = 16
WHOLE, CHANNELS = pretrained.expected_shapes, vgg_uae_arch._CHANNELS


@functools.cache
def narrow_shapes(name: str) -> dict[str, torch.Size]:
    """Of weights (d, c, 3, 3) and biases (d,) of fewer channels d and c; the images keep their three."""
    if name == 'alexnet':  # of LPIPS, whose weights fit the whole network
        return WHOLE(name)
    return {
        key: torch.Size([size // SHARE if size > 3 and axis < 2 else size for axis, size in enumerate(shape)])
        for key, shape in WHOLE(name).items()
    }


def narrow_vgg(patch: pytest.MonkeyPatch) -> None:
    """Until ``patch`` ends, random weights and files of weights are narrow, and so is the decoder of VGGUAE."""
    patch.setattr(pretrained, 'expected_shapes', narrow_shapes)
    patch.setattr(vgg_uae_arch, '_CHANNELS', tuple(channels // SHARE for channels in CHANNELS))


def torchvisions_vgg(name: str) -> SimpleNamespace:
    """As much of torchvision's as BasicSR takes, narrow and untrained."""
    channels = vgg.cfgs[{'vgg16': 'D', 'vgg19': 'E'}[name]]
    return SimpleNamespace(features=vgg.make_layers([size if size == 'M' else size // SHARE for size in channels]))
