"""Small generators of all kinds, with weights that make a difference, and their checkpoints."""

from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from torch import Tensor, nn

_COLOUR = {'num_in_ch': 3, 'num_out_ch': 3}
_SIZES: dict[str, dict[str, Any]] = {
    'MSRResNet': {**_COLOUR, 'num_feat': 4, 'num_block': 2},
    'SRResNet': {**_COLOUR, 'num_feat': 4, 'num_block': 2},
    'EDSR': {**_COLOUR, 'num_feat': 4, 'num_block': 2},
    'RCAN': {**_COLOUR, 'num_feat': 8, 'num_group': 2, 'num_block': 1, 'squeeze_factor': 4},
    'RRDBNet': {**_COLOUR, 'num_feat': 6, 'num_block': 2, 'num_grow_ch': 4},
    'SRCNN': {'num_feat': [6, 4], 'kernel_sizes': [5, 3, 5]},
    'FSRCNN': {'d': 6, 's': 4, 'm': 2},
    'ESPCN': {'num_feat': [6, 4]},
    'VDSR': {'num_feat': 4, 'num_conv': 4},
    'DegradationNet': {**_COLOUR, 'num_feat': 4},
}
_SCALES = {'RRDBNet': (1, 2, 4)}
_SCALE_NAMES = {'RRDBNet': 'scale', 'DegradationNet': 'scale'}
SILENT = ('SRCNN', 'FSRCNN', 'VDSR', 'DegradationNet')  # whose shapes do not show the scale
OURS = ('SRResNet', 'SRCNN', 'FSRCNN', 'ESPCN', 'VDSR', 'DegradationNet')
ZOO = [
    {'type': kind, **sizes, _SCALE_NAMES.get(kind, 'upscale'): scale}
    for kind, sizes in _SIZES.items()
    for scale in _SCALES.get(kind, (2, 3, 4))
]
ESRGAN = {'type': 'RRDBNet', **_COLOUR, 'num_feat': 4, 'num_block': 2}  # with the growth that spandrel's has
DSGAN = {'type': 'DSGANGenerator', **_COLOUR, 'num_feat': 4, 'num_block': 2}


def scale_of(network: dict[str, Any]) -> int:
    return network.get('upscale', network.get('scale', 1))


def name_of(network: dict[str, Any]) -> str:
    """For the names of tests."""
    return f'{network["type"]}_x{scale_of(network)}'


def first(kind: str) -> dict[str, Any]:
    """The first of a kind in the zoo."""
    return next(network for network in ZOO if network['type'] == kind)


def tiny(network: dict[str, Any], seed: int = 0) -> nn.Module:
    """A network whose output is far from 0 and from its input everywhere."""
    torch.manual_seed(seed)
    net = build_network(network)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net.eval()


def saved(network: dict[str, Any], path: Path, keys: tuple[str, ...] = ('params', 'params_ema')) -> nn.Module:
    """Save a checkpoint as a training does; the network under its last key."""
    nets = {key: tiny(network, seed) for seed, key in enumerate(keys)}
    torch.save({key: net.state_dict() for key, net in nets.items()}, path)
    return nets[keys[-1]]


def image(channels: int = 3, height: int = 24, width: int = 36) -> Tensor:
    """(1, channels, height, width) in [0, 1]; sides divide by what networks ask for."""
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(7))


def output(net: nn.Module, x: Tensor | None = None) -> Tensor:
    with torch.inference_mode():
        return net(image() if x is None else x).clone()


def old_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of the first ESRGAN for BasicSR's."""
    blocks = 1 + max(int(name.split('.')[1]) for name in weights if name.startswith('body.'))
    plain = {
        'conv_first': 'model.0',
        'conv_body': f'model.1.sub.{blocks}',
        'conv_up1': 'model.3',
        'conv_up2': 'model.6',
        'conv_hr': 'model.8',
        'conv_last': 'model.10',
    }
    renamed = {}
    for name, value in weights.items():
        module, kind = name.rsplit('.', 1)
        if module in plain:
            renamed[f'{plain[module]}.{kind}'] = value
        else:
            _, block, dense, conv = module.split('.')
            renamed[f'model.1.sub.{block}.{dense.upper()}.{conv}.0.{kind}'] = value
    return renamed


def second_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of ESRGAN, RealSR and BSRGAN for BasicSR's."""
    changes = {
        'conv_body': 'trunk_conv',
        'body.': 'RRDB_trunk.',
        '.rdb': '.RDB',
        'conv_up': 'upconv',
        'conv_hr': 'HRconv',
    }
    renamed = {}
    for name, value in weights.items():
        for ours, theirs in changes.items():
            name = name.replace(ours, theirs)
        renamed[name] = value
    return renamed
