"""What shows only when the parts meet: samples are drawn, and go through the networks and the metrics.

Runs after all else, on options in which nothing else was found. Networks have no weights here, only the shapes of what
they make, so it takes a moment and no memory.
"""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.metrics import calculate_metric
from basicsr.models.video_base_model import VideoBaseModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ext_core.check import crops, roles, trials
from ext_core.check.hints import look_up, section
from ext_core.errors import UserError

_LARGEST = 96  # pixels of validation images, which are whole
_KEPT = 64
_METRIC_SIZE = 256  # pixels; NIQE wants two blocks of 96
_IMAGE_FAULTS = (UserError, OSError)  # a damaged image is no matter of the options


def problems(opt: dict, is_train: bool) -> Iterator[str]:
    """Samples that cannot be drawn, and networks and metrics that cannot take them."""
    for phase, data_opt in section(opt, 'datasets').items():
        faults, sample = _sample(opt, f'datasets:{phase}', data_opt)
        yield from faults
        if sample is not None:
            yield from _networks(opt, phase, sample)
            if phase == 'train':
                yield from roles.problems(opt, sample)
            if phase != 'train':
                yield from _metrics(opt, phase, sample)


# ---------------------------------------------------------------------- datasets
def _sample(opt: dict, where: str, data_opt: dict) -> tuple[list[str], dict | None]:
    """What a dataset says against its options, and its first usable sample."""
    kind = look_up(DATASET_REGISTRY, data_opt.get('type'))
    error: Exception | None = None
    try:
        dataset = kind(copy.deepcopy(data_opt))  # some take what they have read out of it
        if where == 'datasets:train' and (few := list(crops.filling(opt, data_opt, len(dataset)))):
            return few, None
        model = look_up(MODEL_REGISTRY, opt['model_type'])
        if where != 'datasets:train' and issubclass(model, VideoBaseModel) and not hasattr(dataset, 'data_info'):
            return [f'{where}:type: {kind.__name__} has no videos, which {model.__name__} evaluates.'], None
        known = not kind.__module__.startswith('basicsr.') or issubclass(kind, PairedImageDataset | SingleImageDataset)
        if not known:
            return [], None  # others may wait for files, or read whole videos
        for index in sorted({0, len(dataset) // 2, len(dataset) - 1}) if len(dataset) else ():
            try:
                return [], dataset[index]
            except _IMAGE_FAULTS:
                continue
    except KeyError as missing:
        return [f'{where}:{missing.args[0]} is missing: {kind.__name__} needs it.'], None
    except Exception as raised:
        error = raised
    if error is None:
        return [], None
    text = str(error)
    said = isinstance(error, UserError) and text.startswith(where)
    fault = text if said else f'{where}: {kind.__name__} cannot be used so: {type(error).__name__}: {text}'
    return [fault], None


# ---------------------------------------------------------------------- networks
def _networks(opt: dict, phase: str, sample: dict) -> Iterator[str]:
    lq, gt = sample.get('lq'), sample.get('gt')
    if roles.takes_pairs(opt) and 'real_lq' in sample:
        if phase == 'train':
            yield from _degradation(opt, tuple(sample['gt'].shape), tuple(sample['real_lq'].shape))
        return
    if not roles.takes_pairs(opt) or not torch.is_tensor(lq) or lq.dim() != 3:
        return
    shape = tuple(lq.shape) if phase == 'train' else (lq.shape[0], *(min(side, _LARGEST) for side in lq.shape[1:]))
    faults, made = _passed(opt, 'network_g', phase, 'lq', shape)
    yield from faults
    if made is None or not torch.is_tensor(gt):
        return
    if phase == 'train' and made != tuple(gt.shape):
        yield (
            f'network_g: {opt["network_g"]["type"]} makes images of shape {made} of the low-quality crops '
            f'{tuple(lq.shape)} of datasets:{phase}, but the ground truth is {tuple(gt.shape)}. Correct its scale and '
            'channels, or gt_size.'
        )
    elif phase != 'train' and made[0] != gt.shape[0]:
        yield (
            f'network_g: {opt["network_g"]["type"]} makes {made[0]} channels of datasets:{phase}, whose ground truth '
            f'has {gt.shape[0]}. Correct its channels, or color.'
        )
    elif phase == 'train' and section(opt, 'network_d'):
        yield from _passed(opt, 'network_d', phase, 'gt', tuple(gt.shape))[0]


def _degradation(opt: dict, gt: tuple, real_lq: tuple) -> Iterator[str]:
    """A network that makes low-quality images, of large ones or of small ones."""
    takes_small = getattr(look_up(ARCH_REGISTRY, opt['network_g']['type']), 'INPUT', 'gt') == 'lq'
    faults, made = _passed(opt, 'network_g', 'train', 'lq' if takes_small else 'gt', real_lq if takes_small else gt)
    yield from faults
    if made is not None and made != real_lq:
        yield (
            f'network_g: {opt["network_g"]["type"]} makes images of shape {made}, but the real ones of datasets:train '
            f'are {real_lq}. Correct its scale and channels.'
        )
    elif not faults and section(opt, 'network_d') and section(opt, 'train').get('gan_opt'):
        yield from _passed(opt, 'network_d', 'train', 'real_lq', real_lq)[0]


def _passed(opt: dict, key: str, phase: str, kind: str, shape: tuple) -> tuple[list[str], tuple | None]:
    """The shape that a network makes of images; and what it says against them."""
    arguments = opt[key]
    try:
        return [], _shape_made(arguments, shape, phase == 'train')
    except Exception as error:
        where = f'images of datasets:{phase} ({kind}, {" x ".join(map(str, shape))})'
        return [f'{key}: {arguments["type"]} cannot take the {where}: {type(error).__name__}: {error}'], None


_shapes: dict[tuple[str, tuple], tuple | None] = {}  # section and images: what was made of them


def _shape_made(arguments: dict, shape: tuple, training: bool) -> tuple | None:
    wanted = repr(arguments), (training, *shape)
    if wanted in _shapes:
        return _shapes[wanted]
    net_type = look_up(ARCH_REGISTRY, arguments['type'])
    net = trials.network(net_type, arguments).train(training)
    try:
        made = _forward(net, shape, 'meta') if trials.is_light(net) else _forward(net, shape, 'cpu')
    except Exception:  # not every operation can do without numbers
        with torch.device('cpu'):
            net = net_type(**{k: v for k, v in arguments.items() if k != 'type'}).train(training)
            made = _forward(net, shape, 'cpu')
    if len(_shapes) >= _KEPT:
        _shapes.clear()
    _shapes[wanted] = tuple(made.shape[1:]) if torch.is_tensor(made) else None
    return _shapes[wanted]


def _forward(net: torch.nn.Module, shape: tuple, device: str) -> Any:
    with torch.no_grad(), torch.device(device), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return net(torch.zeros((2, *shape)))


# ---------------------------------------------------------------------- metrics
def _metrics(opt: dict, phase: str, sample: dict) -> Iterator[str]:
    gt = sample.get('gt')
    size = gt.shape[-2:] if torch.is_tensor(gt) else None
    for name, options in section(opt, 'val', 'metrics').items():
        border = options.get('crop_border', 0)
        if size is not None and 2 * border >= min(size):
            yield (
                f'val:metrics:{name}:crop_border: {border} pixels at each side leave nothing of the images of '
                f'datasets:{phase}, {size[1]} x {size[0]}. Lower it.'
            )
        elif look_up(METRIC_REGISTRY, options['type']).__module__.startswith('basicsr.'):
            yield from _measured(name, options, border)


def _measured(name: str, options: dict, border: Any) -> Iterator[str]:
    """A metric of BasicSR's on a small picture: some arguments are looked at only when it measures."""
    side = _METRIC_SIZE + 2 * border
    picture = np.add.outer(np.arange(side), np.arange(side)) % 251
    picture = np.repeat(picture[..., None], 3, axis=2).astype(np.uint8)
    picture[::3, ::2] //= 2
    arguments = {key: value for key, value in options.items() if key not in ('better', 'optional')}
    try:
        calculate_metric({'img': picture, 'img2': picture}, arguments)
    except Exception as error:
        yield f'val:metrics:{name}: {options["type"]} cannot be used so: {type(error).__name__}: {error}'
