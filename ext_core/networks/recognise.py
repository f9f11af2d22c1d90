"""Which network a state dict belongs to, and with which arguments.

The arguments are read from the shapes of the weights. They are believed if a network that is built with them has
exactly these names and shapes. Some arguments leave no trace in shapes, such as the scale of SRCNN or ``res_scale`` of
EDSR: they come from what the file says of itself (``metadata.said_of``), else from the caller, else they are assumed,
and reported as such.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch

from ext_core.networks.metadata import said_of, without_mark

Shapes = Mapping[str, tuple[int, ...]]
Arguments = dict[str, Any]
SCALES = (2, 3, 4)  # of the networks whose shapes do not show it
# by type: which argument is the scale; '' where the output has the size of the input
KINDS = {
    'MSRResNet': 'upscale',
    'SRResNet': 'upscale',
    'EDSR': 'upscale',
    'RCAN': 'upscale',
    'RRDBNet': 'scale',
    'ESPCN': 'upscale',
    'SRCNN': 'upscale',
    'FSRCNN': 'upscale',
    'VDSR': 'upscale',
    'DegradationNet': 'scale',
    'DSGANGenerator': '',
}
_MEAN = {'img_range': 255.0, 'rgb_mean': [0.4488, 0.4371, 0.4040]}


def _read(kind: str, shapes: Shapes) -> tuple[Arguments, Arguments]:
    """Arguments of a network that shapes show, and the assumed values of those that they do not."""

    def count(pattern: str) -> int:
        """Different numbers in names that begin with a pattern."""
        return len({match.group(1) for name in shapes if (match := re.match(pattern, name))})

    def ends(first: str = 'conv_first', last: str = 'conv_last') -> Arguments:
        begin = shapes[f'{first}.weight']
        return {'num_in_ch': begin[1], 'num_out_ch': shapes[f'{last}.weight'][0], 'num_feat': begin[0]}

    def shuffled(pattern: str) -> int:
        """Scale of the convolutions before pixel shuffles."""
        heights = (shape[0] for name, shape in shapes.items() if re.fullmatch(pattern, name))
        return math.prod(math.isqrt(height // seen['num_feat']) for height in heights)

    hidden: Arguments = {}
    if kind == 'MSRResNet':
        seen = ends() | {'num_block': count(r'body\.(\d+)\.')}
        seen['upscale'] = shuffled(r'upconv\d\.weight')
    elif kind == 'SRResNet':
        seen = ends('head.0', 'tail') | {'num_block': count(r'body\.(\d+)\.body')}
        seen['upscale'] = shuffled(r'up\.[03]\.weight')
    elif kind == 'EDSR':
        seen = ends() | {'num_block': count(r'body\.(\d+)\.')}
        seen['upscale'] = shuffled(r'upsample\.\d+\.weight')
        large = (seen['num_feat'], seen['num_block']) == (256, 32)  # the published one
        hidden = {'res_scale': 0.1 if large else 1, **_MEAN}
    elif kind == 'RCAN':
        seen = ends() | {'num_group': count(r'body\.(\d+)\.'), 'num_block': count(r'body\.0\.residual_group\.(\d+)\.')}
        squeezed = shapes['body.0.residual_group.0.rcab.3.attention.1.weight'][0]
        seen |= {'squeeze_factor': seen['num_feat'] // squeezed, 'upscale': shuffled(r'upsample\.\d+\.weight')}
        hidden = {'res_scale': 1, **_MEAN}
    elif kind == 'RRDBNet':
        seen, growth = ends(), shapes['body.0.rdb1.conv1.weight'][0]
        # at scale 2 and 1 the input is folded: 4 and 16 times its channels
        scale = {4: 2, 16: 1}.get(seen['num_in_ch'] // seen['num_out_ch'], 4)
        seen['num_in_ch'] //= (4 // scale) ** 2
        seen |= {'scale': scale, 'num_block': count(r'body\.(\d+)\.'), 'num_grow_ch': growth}
    elif kind in ('ESPCN', 'SRCNN'):
        found = [shapes[f'conv{number}.weight'] for number in (1, 2, 3)]
        channels = found[0][1]
        seen = {'num_in_ch': channels, 'num_out_ch': channels, 'num_feat': [found[0][0], found[1][0]]}
        if kind == 'ESPCN':
            seen['upscale'] = math.isqrt(found[2][0] // channels)
        else:
            seen['kernel_sizes'] = [shape[2] for shape in found]
            hidden = {'upscale': None, 'pre_upsampled': 'never'}
    elif kind == 'FSRCNN':
        first, shrunk = shapes['extract.0.weight'], shapes['shrink.0.weight']
        seen = {'num_in_ch': first[1], 'num_out_ch': shapes['deconv.weight'][1], 'd': first[0], 's': shrunk[0]}
        seen['m'], hidden = count(r'mapping\.(\d+)\.'), {'upscale': None}
    elif kind == 'VDSR':
        number = count(r'body\.(\d+)\.')
        seen = ends('body.0', f'body.{2 * number - 2}') | {'num_conv': number, 'bias': 'body.0.bias' in shapes}
        hidden = {'upscale': None, 'pre_upsampled': 'never'}
    elif kind == 'DegradationNet':
        kernels = [shapes[f'body.{number}.weight'][2] for number in (0, 2, 4, 6)]
        shared = shapes['body.1.weight'] == (1,)
        if set(kernels) == {3} and not shared:
            raise ValueError('a small Real-ESRGAN (SRVGGNetCompact) has these names too')
        seen = ends('body.0', 'body.6') | {'kernel_sizes': kernels, 'prelu': 'shared' if shared else 'channel'}
        hidden = {'scale': None, 'output_act': 'none'}
    else:
        seen = ends('head.0', 'tail') | {'num_block': count(r'body\.(\d+)\.')}
    return seen, hidden


def arguments_of(kind: str, state: Mapping[str, Any]) -> tuple[Arguments, Arguments] | None:
    """The arguments that the shapes show, and the assumed values of others (None: the scale, which is never assumed).

    Args:
        kind (str): One of :data:`KINDS`.
        state (Mapping[str, Any]): Names and tensors, perhaps with a mark.

    Returns:
        tuple | None: None where the weights are not those of such a network.
    """
    from basicsr.utils.registry import ARCH_REGISTRY

    weights = without_mark(state)
    if not all(torch.is_tensor(value) for value in weights.values()):
        return None
    shapes = {str(name): tuple(value.shape) for name, value in weights.items()}
    scale_name = KINDS[kind]
    try:
        seen, hidden = _read(kind, shapes)
    except (KeyError, ValueError, IndexError, ZeroDivisionError):
        return None
    silent = scale_name in hidden
    for scale in SCALES if silent else (None,):
        told = hidden | ({scale_name: scale} if silent else {})
        try:
            with torch.device('meta'):  # without memory
                built = ARCH_REGISTRY.get(kind)(**seen, **told).state_dict()
        except Exception:  # shapes of another network lead to arguments that constructors refuse in many ways
            continue
        if {name: tuple(value.shape) for name, value in built.items()} == shapes:
            return seen, hidden
    return None


def describe(state: Mapping[str, Any], scale: int | None = None) -> tuple[dict[str, Any], int | None, Arguments] | None:
    """The network of a state dict, or None where it is none of :data:`KINDS`.

    Args:
        state (Mapping[str, Any]): Names and tensors, perhaps with a mark.
        scale (int | None): Where neither the shapes nor the file tell it.

    Returns:
        tuple | None: The network as ``network_g`` of an option file has it, type and arguments; its scale, None where
        nothing tells it; and the arguments that were assumed.
    """
    for kind, scale_name in KINDS.items():
        found = arguments_of(kind, state)
        if found is None:
            continue
        seen, hidden = found
        said = {name: value for name, value in said_of(state).items() if name in hidden}
        if not isinstance(said.get(scale_name, 1), int):
            del said[scale_name]
        if scale_name in hidden and scale_name not in said and scale is not None:
            said[scale_name] = scale
        assumed = {name: value for name, value in hidden.items() if name not in said and value is not None}
        network = {'type': kind, **seen, **assumed, **said}
        return network, network.get(scale_name) if scale_name else 1, assumed
    return None


def multiple_of(network: Mapping[str, Any], scale: int) -> int:
    """What the sides of a network's input must be multiples of."""
    if network['type'] == 'RRDBNet':  # folds its input at scales 2 and 1
        return 4 // scale if scale < 4 else 1
    return scale if reduces(network) else 1


def reduces(network: Mapping[str, Any]) -> bool:
    """Whether a network makes LR of HR images."""
    return network['type'] == 'DegradationNet'


# ---------------------------------------------------------------------- older names of RRDBNet
_OLDER = (
    (r'model\.0\.', 'conv_first.'),  # the first ESRGAN
    (r'model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.', r'body.\1.rdb\2.conv\3.'),
    (r'model\.1\.sub\.\d+\.', 'conv_body.'),
    (r'model\.3\.', 'conv_up1.'),  # two enlargements by 2, at scale 2 and 1 too, where the input is folded first
    (r'model\.6\.', 'conv_up2.'),
    (r'model\.8\.', 'conv_hr.'),
    (r'model\.10\.', 'conv_last.'),
    (r'RRDB_trunk\.(\d+)\.RDB(\d)\.', r'body.\1.rdb\2.'),  # ESRGAN, RealSR and BSRGAN after it
    (r'trunk_conv\.', 'conv_body.'),
    (r'upconv(\d)\.', r'conv_up\1.'),
    (r'HRconv\.', 'conv_hr.'),
)


def with_basicsrs_names(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights of an ESRGAN under the names of BasicSR's RRDBNet; others as they are."""
    if not {'model.1.sub.0.RDB1.conv1.0.weight', 'RRDB_trunk.0.RDB1.conv1.weight'} & weights.keys():
        return weights
    renamed = {}
    for name, value in weights.items():
        for old, new in _OLDER:
            if re.match(old, name):
                name = re.sub(f'^{old}', new, name)
                break
        renamed[name] = value
    return renamed
