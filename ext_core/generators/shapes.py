"""Which network a state dict belongs to: type and arguments from the names and shapes of its weights.

Some arguments leave no trace in shapes, such as the scale of SRCNN or ``res_scale`` of EDSR. They come from what the
file says of itself (:func:`said_of`), else from the caller, else they are assumed, and reported as such.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ext_core.generators.notes import State, said_of, without_mark

_EDSR_LARGE = (256, 32)  # features and blocks of the published large EDSR, the one with res_scale 0.1


@dataclass(frozen=True)
class Described:
    """A network by its type and arguments.

    ``scale`` is None where the file does not show it and the caller did not say it; it is missing in ``arguments``
    then. ``assumed`` are those of ``arguments`` that the file does not show.
    """

    type: str
    arguments: dict[str, Any]
    scale: int | None
    assumed: dict[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> dict[str, Any]:
        """As ``network_g`` of an option file."""
        return {'type': self.type, **self.arguments}


@dataclass(frozen=True)
class Layout:
    """How the weights of a network are called.

    Args:
        type (str): Name in BasicSR's registry.
        names (str): Regular expression that each of its names matches.
        required (tuple[str, ...]): Names that are always there.
        seen (Callable): Arguments that the shapes show. It raises ValueError, KeyError or IndexError where they fit no
            network of this type.
        scale_name (str): Argument that is the scale; empty where there is none, and the output has the input's size.
        unseen (Mapping[str, Any] | Callable): Arguments that the shapes do not show, with what to assume; depends on
            those seen where it is a function. The scale, where it is among them, is never assumed: None.
    """

    type: str
    names: str
    required: tuple[str, ...]
    seen: Callable[[State], dict[str, Any]]
    scale_name: str = 'upscale'
    unseen: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda seen: {})

    def fits(self, state: State) -> bool:
        """Whether a state dict has the names of this network, no others, and shapes that one of its kind can have."""
        if not all(name in state for name in self.required):
            return False
        if not all(re.fullmatch(self.names, str(name)) and torch.is_tensor(value) for name, value in state.items()):
            return False
        try:
            self.seen(state)
        except (ValueError, KeyError, IndexError, ZeroDivisionError):
            return False
        return True


# ---------------------------------------------------------------------- reading shapes
def _count(state: State, pattern: str) -> int:
    """One more than the largest number in names that begin with a pattern; 0 where there is none."""
    found = (re.match(pattern, name) for name in state)
    return max((int(match.group(1)) + 1 for match in found if match), default=0)


def _root(square: int, unit: int) -> int:
    """The number whose square is ``square / unit``."""
    root = math.isqrt(square // unit)
    if root < 1 or root * root * unit != square:
        raise ValueError(f'{square} is no square times {unit}')
    return root


def _ends(state: State, first: str, last: str) -> dict[str, int]:
    """Channels of the input, of the output, and between."""
    begin, end = state[f'{first}.weight'], state[f'{last}.weight']
    return {'num_in_ch': begin.shape[1], 'num_out_ch': end.shape[0], 'num_feat': begin.shape[0]}


def _msrresnet(state: State) -> dict[str, Any]:
    ends = _ends(state, 'conv_first', 'conv_last')
    upscale = 4 if 'upconv2.weight' in state else _root(state['upconv1.weight'].shape[0], ends['num_feat'])
    return {**ends, 'num_block': _count(state, r'body\.(\d+)\.'), 'upscale': upscale}


def _shuffled(state: State, num_feat: int) -> int:
    """Scale of BasicSR's ``Upsample``."""
    steps = [name for name in state if re.fullmatch(r'upsample\.\d+\.weight', name)]
    return math.prod(_root(state[name].shape[0], num_feat) for name in steps)


def _edsr(state: State) -> dict[str, Any]:
    ends = _ends(state, 'conv_first', 'conv_last')
    return {**ends, 'num_block': _count(state, r'body\.(\d+)\.'), 'upscale': _shuffled(state, ends['num_feat'])}


def _edsr_unseen(seen: dict[str, Any]) -> dict[str, Any]:
    large = (seen['num_feat'], seen['num_block']) == _EDSR_LARGE
    return {'res_scale': 0.1 if large else 1, **_mean_unseen(seen)}


def _mean_unseen(seen: dict[str, Any]) -> dict[str, Any]:
    return {'img_range': 255.0, 'rgb_mean': [0.4488, 0.4371, 0.4040]}


def _rcan(state: State) -> dict[str, Any]:
    ends = _ends(state, 'conv_first', 'conv_last')
    squeezed = state['body.0.residual_group.0.rcab.3.attention.1.weight'].shape[0]
    return {
        **ends,
        'num_group': _count(state, r'body\.(\d+)\.'),
        'num_block': _count(state, r'body\.0\.residual_group\.(\d+)\.'),
        'squeeze_factor': ends['num_feat'] // squeezed,
        'upscale': _shuffled(state, ends['num_feat']),
    }


def _rrdbnet(state: State) -> dict[str, Any]:
    ends = _ends(state, 'conv_first', 'conv_last')
    channels = ends['num_in_ch']
    # at scale 2 and 1 the input is folded: 4 and 16 times its channels
    scale = {4 * ends['num_out_ch']: 2, 16 * ends['num_out_ch']: 1}.get(channels, 4)
    return {
        **ends,
        'num_in_ch': channels // {4: 1, 2: 4, 1: 16}[scale],
        'scale': scale,
        'num_block': _count(state, r'body\.(\d+)\.'),
        'num_grow_ch': state['body.0.rdb1.conv1.weight'].shape[0],
    }


def _three(state: State) -> tuple[dict[str, Any], int]:
    """Arguments of three convolutions, and how many times the channels of the input the output has."""
    first, second, third = (state[f'conv{number}.weight'].shape for number in (1, 2, 3))
    channels = first[1]
    if third[0] % channels:
        raise ValueError('no multiple of the channels')
    return {'num_in_ch': channels, 'num_out_ch': channels, 'num_feat': [first[0], second[0]]}, third[0] // channels


def _srcnn(state: State) -> dict[str, Any]:
    arguments, times = _three(state)
    if times != 1:
        raise ValueError('no SRCNN')
    return {**arguments, 'kernel_sizes': [state[f'conv{number}.weight'].shape[2] for number in (1, 2, 3)]}


def _espcn(state: State) -> dict[str, Any]:
    arguments, times = _three(state)
    if times not in (4, 9, 16):
        raise ValueError('no ESPCN')
    return {**arguments, 'upscale': math.isqrt(times)}


def _fsrcnn(state: State) -> dict[str, Any]:
    first, shrunk = state['extract.0.weight'].shape, state['shrink.0.weight'].shape
    channels = state['deconv.weight'].shape[1]
    mapping = _count(state, r'mapping\.(\d+)\.')
    return {'num_in_ch': first[1], 'num_out_ch': channels, 'd': first[0], 's': shrunk[0], 'm': mapping}


def _plain(state: State) -> list[torch.Size]:
    """Shapes of the weights of a sequence."""
    return [state[name].shape for name in sorted(state, key=_number) if name.endswith('.weight')]


def _number(name: str) -> int:
    return int(name.split('.')[1])


def _vdsr(state: State) -> dict[str, Any]:
    shapes = _plain(state)
    if any(len(shape) != 4 or shape[2] != 3 for shape in shapes) or any(_number(name) % 2 for name in state):
        raise ValueError('no VDSR')
    ends = {'num_in_ch': shapes[0][1], 'num_out_ch': shapes[-1][0], 'num_feat': shapes[0][0]}
    if ends['num_in_ch'] != ends['num_out_ch']:
        raise ValueError('no VDSR, which adds its input; perhaps a small Real-ESRGAN with ReLU')
    return {**ends, 'num_conv': len(shapes), 'bias': 'body.0.bias' in state}


def _degradation(state: State) -> dict[str, Any]:
    shapes = _plain(state)
    kernels = [shape[2] for shape in shapes[::2]]
    slopes = {shape[0] for shape in shapes[1::2]}
    if len(shapes) != 7 or (set(kernels) == {3} and slopes != {1}):
        raise ValueError('no DegradationNet; the second is a small Real-ESRGAN (SRVGGNetCompact)')
    ends = {'num_in_ch': shapes[0][1], 'num_out_ch': shapes[-1][0], 'num_feat': shapes[0][0]}
    return {**ends, 'kernel_sizes': kernels, 'prelu': 'shared' if slopes == {1} else 'channel'}


def _dsgan(state: State) -> dict[str, Any]:
    return {**_ends(state, 'head.0', 'tail'), 'num_block': _count(state, r'body\.(\d+)\.')}


_W = r'\.(weight|bias)'
_ENLARGED: dict[str, Any] = {'upscale': None, 'pre_upsampled': 'never'}

LAYOUTS = (
    Layout(
        'MSRResNet',
        rf'(conv_first|body\.\d+\.conv[12]|upconv[12]|conv_hr|conv_last){_W}',
        ('conv_first.weight', 'body.0.conv1.weight', 'upconv1.weight', 'conv_hr.weight', 'conv_last.weight'),
        _msrresnet,
    ),
    Layout(
        'EDSR',
        rf'(conv_first|body\.\d+\.conv[12]|conv_after_body|upsample\.\d+|conv_last){_W}',
        ('conv_first.weight', 'body.0.conv1.weight', 'conv_after_body.weight', 'upsample.0.weight', 'conv_last.weight'),
        _edsr,
        unseen=_edsr_unseen,
    ),
    Layout(
        'RCAN',
        rf'(conv_first|body\.\d+\.residual_group\.\d+\.rcab\.(\d|3\.attention\.\d)|body\.\d+\.conv|conv_after_body'
        rf'|upsample\.\d+|conv_last){_W}',
        ('conv_first.weight', 'body.0.residual_group.0.rcab.0.weight', 'upsample.0.weight', 'conv_last.weight'),
        _rcan,
        unseen=lambda seen: {'res_scale': 1, **_mean_unseen(seen)},
    ),
    Layout(
        'RRDBNet',
        rf'(conv_first|body\.\d+\.rdb[123]\.conv[1-5]|conv_body|conv_up[12]|conv_hr|conv_last){_W}',
        ('conv_first.weight', 'body.0.rdb1.conv1.weight', 'conv_up1.weight', 'conv_up2.weight', 'conv_last.weight'),
        _rrdbnet,
        'scale',
    ),
    Layout('ESPCN', rf'conv[123]{_W}', ('conv1.weight', 'conv2.weight', 'conv3.weight'), _espcn),
    Layout(
        'SRCNN',
        rf'conv[123]{_W}',
        ('conv1.weight', 'conv2.weight', 'conv3.weight'),
        _srcnn,
        unseen=lambda seen: dict(_ENLARGED),
    ),
    Layout(
        'FSRCNN',
        rf'((extract|shrink|mapping\.\d+|expand)\.[01]|deconv){_W}',
        ('extract.0.weight', 'shrink.0.weight', 'expand.0.weight', 'deconv.weight'),
        _fsrcnn,
        unseen=lambda seen: {'upscale': None},
    ),
    Layout(
        'VDSR',
        rf'body\.\d+{_W}',
        ('body.0.weight', 'body.2.weight'),
        _vdsr,
        unseen=lambda seen: dict(_ENLARGED),
    ),
    Layout(
        'DegradationNet',
        rf'body\.[0-6]{_W}',
        ('body.0.weight', 'body.1.weight', 'body.6.weight'),
        _degradation,
        'scale',
        unseen=lambda seen: {'scale': None, 'output_act': 'none'},
    ),
    Layout(
        'DSGANGenerator',
        rf'(head\.[01]|body\.\d+\.[012]|tail){_W}',
        ('head.0.weight', 'head.1.weight', 'body.0.1.weight', 'tail.weight'),
        _dsgan,
        '',
    ),
)


# ---------------------------------------------------------------------- the answer
def layout_of(state: State) -> Layout | None:
    """The layout that a state dict has, without a mark; None where it is none of these."""
    return next((layout for layout in LAYOUTS if layout.fits(state)), None)


def describe(state: State, scale: int | None = None) -> Described | None:
    """The network of a state dict, or None where its layout is not known here.

    Args:
        state (Mapping[str, Any]): Names and tensors, perhaps with a ``MARK``.
        scale (int | None): Where neither the shapes nor the file tell it.
    """
    bare = without_mark(state)
    layout = layout_of(bare)
    if layout is None:
        return None
    seen = layout.seen(bare)
    unseen = layout.unseen(seen)
    said = {name: value for name, value in said_of(state).items() if name in unseen}
    if not isinstance(said.get(layout.scale_name, 1), int):
        del said[layout.scale_name]
    if layout.scale_name in unseen and layout.scale_name not in said and scale is not None:
        said[layout.scale_name] = scale
    assumed = {name: value for name, value in unseen.items() if name not in said and value is not None}
    arguments = seen | assumed | said
    return Described(layout.type, arguments, arguments.get(layout.scale_name) if layout.scale_name else 1, assumed)


def multiple_of(network: Mapping[str, Any], scale: int) -> int:
    """What the sides of a network's input must be multiples of."""
    if network['type'] == 'RRDBNet':  # folds its input at scales 2 and 1
        return 4 // scale if scale < 4 else 1
    return scale if reduces(network) else 1


def reduces(network: Mapping[str, Any]) -> bool:
    """Whether a network makes LR of HR images."""
    return network['type'] == 'DegradationNet'
