"""Components are built and called before training, alone and together, to report what they would refuse in it.

When nothing else is wrong, samples are drawn and go through networks, losses and metrics. Networks have no weights
there, only the shapes of what they make, so it takes a moment and no memory.
"""

import copy
import inspect
import math
import os
import random
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.losses.basic_loss import PerceptualLoss
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.models.video_base_model import VideoBaseModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from torch import nn
from torch.nn.modules import module as registration

from ext_arch.luma import LumaNetwork
from ext_core.errors import UserError
from ext_core.options.image_folders import roots
from ext_core.options.keys import Component
from ext_core.options.problems import Problem, is_number, section
from ext_data.roots import LONGEST
from ext_models.degrader import Degrader
from ext_models.registries import look_up
from ext_models.sides import MULTIPLES

MOST_TENSORS = 5_000  # of weights in one network; those of super-resolution have up to 2,000
_KEPT = 64
_LARGEST = 96  # pixels of validation images, which are whole
_METRIC_SIZE = 256  # pixels; NIQE wants two blocks of 96
_PLAIN_STEPS = ('SRModel', 'SRGANModel', 'ESRGANModel', 'SwinIRModel')  # of BasicSR: net_g(lq) is to be gt


@contextmanager
def undisturbed() -> Iterator[None]:
    """Context that restores the random state afterwards and keeps warnings back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


# ---------------------------------------------------------------------- alone
def trial(opt: dict, part: Component) -> Iterator[Problem]:
    """What a component says against its arguments, or lacks (such as weights), when it is built.

    BasicSR's PerceptualLoss is not tried: it would download weights.
    """
    target, arguments = part.target, part.arguments
    try:
        if part.kind == 'loss' and not issubclass(target, PerceptualLoss):
            build(target, arguments)
        elif part.kind == 'optimizer':  # over one number, for two steps: some need what a training does not give them
            with torch.device('cpu'):
                built = target([nn.Parameter(torch.zeros(1))], **arguments)
                for _ in range(2):
                    built.param_groups[0]['params'][0].grad = torch.zeros(1)
                    built.step()
        elif part.kind == 'schedule':
            total = section(opt, 'train').get('total_iter')
            if is_number(total):
                _walk_schedule(target, ({'total_iter': total} if 'total_iter' in part.known else {}) | arguments, total)
        elif part.kind == 'metric' and hasattr(target, 'check_ready'):
            target.check_ready(**{key: value for key, value in arguments.items() if key != 'better'})
        elif part.kind == 'degradation':
            degrader(opt)
    except UserError as error:
        yield Problem(part.where, str(error))
    except Exception as error:  # whatever it raises, it would raise again after the folders are made
        yield Problem(part.where, refusal(part.options.get('type'), error))


def refusal(name: Any, error: Exception) -> str:
    """The message of a component: its own refusal, or an error that it did not foresee."""
    own = isinstance(error, ValueError | AssertionError | OSError)
    return f'{name}: {error}' if own else f'{name} fails with these options: {type(error).__name__}: {error}'


def cheaply(attempt: Callable[[str], Any]) -> Any:
    """``attempt('meta')``, where tensors have shapes but no memory; ``attempt('cpu')`` where that fails for want of
    numbers.

    Raises:
        UserError: From either attempt.
        Exception: Whatever the second one raises.
    """
    for device in ('meta', 'cpu'):
        try:
            with torch.no_grad(), torch.device(device):
                return attempt(device)
        except UserError:
            raise
        except Exception:
            if device == 'cpu':
                raise
    return None


def build(make: Callable, arguments: dict) -> Any:
    """Make a component, without memory for its weights where it can do without.

    Raises:
        UserError: If it is too large for this machine, or says so.
        Exception: Whatever it raises with real weights.
    """

    def attempt(device: str) -> Any:
        with _bounded():
            return make(**arguments)

    return cheaply(attempt)


_networks: dict[tuple[type, str], nn.Module] = {}  # the last ones that need no memory


def network(kind: type, options: dict) -> nn.Module:
    """The network of an option section, as :func:`build` makes it; the same section gives the same object."""
    arguments = {name: value for name, value in options.items() if name != 'type'}
    key = kind, repr(arguments)
    if key in _networks:
        return _networks[key]
    net = build(kind, arguments)
    empty = [name for name, weight in net.named_parameters() if not weight.numel()]
    if empty:
        raise UserError(f'its weights {empty[0]} would be empty. Raise its numbers of channels.')
    if _is_light(net):
        if len(_networks) >= _KEPT:
            _networks.clear()
        _networks[key] = net
    return net


def _is_light(net: nn.Module) -> bool:
    return all(weight.is_meta for weight in net.state_dict().values() if torch.is_tensor(weight))


@contextmanager
def _bounded() -> Iterator[None]:
    """A number with some digits too many would fill the memory, or never be done."""
    tensors = weights = 0
    try:
        memory: float = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError):  # Windows
        memory = math.inf

    def count(module: Any, name: str, parameter: torch.Tensor | None) -> None:
        nonlocal tensors, weights
        tensors += 1
        weights += parameter.numel() if parameter is not None else 0
        if tensors > MOST_TENSORS:
            raise UserError(f'it would have more than {MOST_TENSORS:,} tensors of weights. Lower its numbers.')
        if weights * 4 > memory:
            raise UserError(
                f'its weights would need more than {weights * 4 / 2**30:,.0f} GiB, and this machine has '
                f'{memory / 2**30:,.0f}. Lower its numbers.'
            )

    hook = registration.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _walk_schedule(schedule: Callable, arguments: dict, total_iter: float) -> None:
    """Take a schedule's first steps and, by a jump, its last ones: some end before the training does."""
    with torch.device('cpu'):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        built = schedule(optimizer, **arguments)
        if schedule.__name__ == 'CosineAnnealingRestartLR' and sum(arguments['periods']) < total_iter:
            raise UserError(
                f'its periods {arguments["periods"]} end before train:total_iter {total_iter}. Lengthen the last one.'
            )
        optimizer.step()
        built.step()
        built.step()
        if total_iter > 4:
            built.last_epoch = int(total_iter) - 2  # the loop steps before every iteration but the first
            built.step()


def degrader(opt: dict) -> Degrader:
    """What makes low-quality images by the section degrade."""
    with torch.device('cpu'):
        return Degrader.from_options(opt['degrade'], opt['scale'], 0, torch.device('cpu'))


# ---------------------------------------------------------------------- where they meet
def problems(opt: dict, is_train: bool) -> Iterator[Problem]:
    """Samples that cannot be drawn, and networks, losses and metrics that cannot take them."""
    model = look_up(MODEL_REGISTRY, opt['model_type'])
    stock = model.__module__.startswith('basicsr.')
    makes_gt_of_lq = issubclass(model, SRModel) and (not stock or model.__name__ in _PLAIN_STEPS)
    for phase, data_opt in section(opt, 'datasets').items():
        sample = yield from _sample(opt, phase, data_opt, model)
        if sample is not None and makes_gt_of_lq:
            yield from (_training(opt, sample) if phase == 'train' else _validation(opt, phase, sample))
        if sample is not None and phase != 'train':
            yield from _metrics(opt, phase, sample)


def _sample(opt: dict, phase: str, data_opt: dict, model: type) -> Generator[Problem, None, dict | None]:
    """What a dataset says against its options; returns its first usable sample."""
    where = f'datasets:{phase}'
    kind = look_up(DATASET_REGISTRY, data_opt.get('type'))
    try:
        dataset = kind(copy.deepcopy(data_opt))  # some take what they have read out of it
        few = list(_filling(opt, data_opt, len(dataset))) if phase == 'train' else []
        if phase != 'train' and issubclass(model, VideoBaseModel) and not hasattr(dataset, 'data_info'):
            few = [Problem(f'{where}:type', f'{kind.__name__} has no videos, which {model.__name__} evaluates.')]
        yield from few
        stock = kind.__module__.startswith('basicsr.')  # others of these may wait for files, or read whole videos
        if few or (stock and not issubclass(kind, PairedImageDataset | SingleImageDataset)):
            return None
        for index in sorted({0, len(dataset) // 2, len(dataset) - 1}) if len(dataset) else ():
            with suppress(ValueError, OSError):  # a damaged image is no matter of the options
                return dataset[index]
    except KeyError as missing:
        yield Problem(f'{where}:{missing.args[0]}', f'is missing: {kind.__name__} needs it.')
    except Exception as error:
        yield Problem(where, refusal(kind.__name__, error))
    return None


def _filling(opt: dict, data_opt: dict, count: int) -> Iterator[Problem]:
    """The training images must fill one batch."""
    batch, ratio = data_opt.get('batch_size_per_gpu'), data_opt.get('dataset_enlarge_ratio', 1)
    gpus = 1 if opt.get('dist') else opt.get('num_gpu', 0)
    if not (is_number(batch) and is_number(ratio) and is_number(gpus)):
        return
    batch *= max(1, gpus)
    if count * ratio > LONGEST:
        text = f'{count} images times {ratio:g} make an epoch of more than {LONGEST:,} samples. Lower it.'
        yield Problem('datasets:train:dataset_enlarge_ratio', text)
        return
    share = math.ceil(count * ratio / opt.get('world_size', 1))
    if share < batch:
        yield Problem(
            'datasets:train',
            f'{count} images times dataset_enlarge_ratio {ratio} do not fill one batch of {batch}. Lower '
            f'batch_size_per_gpu, or set dataset_enlarge_ratio: {math.ceil(batch * ratio / max(1, share))}.',
        )


def _training(opt: dict, sample: dict) -> Iterator[Problem]:
    """The training sample through the generator, the discriminator and the losses."""
    kind, generator = opt['datasets']['train'].get('type'), opt['network_g']['type']
    where, train = 'datasets:train:type', section(opt, 'train')
    if 'gt' not in sample:
        yield Problem(where, f'{kind} has no ground truth (gt), which training needs. Use PairedImageDataset.')
        return
    if opt.get('degrade'):
        try:
            pairs = degrader(opt)(sample['gt'][None], sample['lq'][None] if 'lq' in sample else None, None)
        except Exception as error:
            yield Problem('degrade', refusal(opt['degrade']['type'], error))
            return
        sample = {'lq': pairs[0][0], 'gt': pairs[1][0]}
    if 'lq' not in sample and 'real_lq' not in sample and not opt.get('network_degrade'):
        remedy = 'Use PairedImageDataset, or the section degrade, which makes them.'
        yield Problem(where, f'{kind} has no low-quality images (lq). {remedy}')
        return
    gt, lq = tuple(sample['gt'].shape), tuple(sample['lq'].shape) if torch.is_tensor(sample.get('lq')) else None
    target, judged, called = gt, 'gt', 'the ground truth is'
    source, name = lq, 'lq'
    asked = lq or (gt[0], *(side // opt['scale'] for side in gt[1:]))  # of losses; network_degrade makes them
    if 'real_lq' in sample:  # the generator makes low-quality images, of large ones or of small ones
        target, judged = tuple(sample['real_lq'].shape), 'real_lq'
        called = 'the real ones of datasets:train are'
        small = getattr(look_up(ARCH_REGISTRY, generator), 'INPUT', 'gt') == 'lq'
        asked = source = target if small else gt
        name = 'lq' if small else 'gt'
    if source is not None and len(source) == 3:
        fault, made = _passed(opt, 'network_g', 'train', name, source)
        net = network(look_up(ARCH_REGISTRY, generator), opt['network_g'])
        if fault is not None:
            yield fault
        elif isinstance(net, LumaNetwork) and (refused := net.training_problem(source[0])):
            yield Problem('network_g', refused)
        elif made != target:
            yield Problem(
                'network_g',
                f'{generator} makes images of shape {made} of the images of datasets:train {source}, but {called} '
                f'{target}. Correct its scale and channels, or gt_size.',
            )
        elif section(opt, 'network_d') and (train.get('gan_opt') or judged == 'gt'):
            fault, _ = _passed(opt, 'network_d', 'train', judged, target)
            if fault is not None:
                yield fault
    losses = ('pixel_opt', 'pretrain_opt', 'mmd_opt', 'perceptual_opt', 'tv_opt')
    compared: dict[str, dict] = {key: train.get(key) or {} for key in losses}
    compared |= {f'losses:{key}': options or {} for key, options in section(train, 'losses').items()}
    for key, options in compared.items():
        loss = look_up(LOSS_REGISTRY, options.get('type'))
        if loss is None or issubclass(loss, PerceptualLoss):
            if loss is not None and not (key == 'perceptual_opt' or key.startswith('losses:')):
                text = f'{options["type"]} gives two losses. Use it as perceptual_opt, or in train:losses.'
                yield Problem(f'train:{key}', text)
            continue
        arguments = {name: value for name, value in options.items() if name != 'type'}
        images = (1 if key == 'tv_opt' else 2) * [(2, *target)]
        offered = {'lq': (2, *asked), 'sr_ema': (2, *target)} if key.startswith('losses:') else {}

        def compare(device: str, loss: Any = loss, arguments=arguments, images=images, offered=offered) -> Any:
            built = loss(**arguments)
            wanted = inspect.signature(built.forward).parameters.keys() & offered.keys()
            return built(*map(torch.rand, images), **{name: torch.rand(offered[name]) for name in wanted})

        try:
            made = cheaply(compare)
        except Exception as error:
            text = f'{options["type"]} cannot compare the images of the training: {type(error).__name__}: {error}'
            yield Problem(f'train:{key}', text)
            continue
        parts = made if isinstance(made, tuple) else (made,)
        perceptual = key == 'perceptual_opt'  # content and style, which may be None
        counts = (2,) if perceptual else (1, 2) if offered else (1,)
        numbers = all(part is None or (torch.is_tensor(part) and not part.dim()) for part in parts)
        if len(parts) not in counts or not numbers or not (perceptual or any(part is not None for part in parts)):
            wanted = 'two losses' if perceptual else 'one number'
            yield Problem(
                f'train:{key}', f'{options["type"]} does not give {wanted}. Choose another type, or reduction.'
            )


def _validation(opt: dict, phase: str, sample: dict) -> Iterator[Problem]:
    """A validation image, or a part of it, through the generator; then the largest one as it is.

    As in a validation, one that the generator refuses is continued to multiples.
    """
    lq, gt = sample.get('lq'), sample.get('gt')
    if 'real_lq' in sample or not torch.is_tensor(lq) or lq.dim() != 3:
        return
    options = opt['network_g']
    small = (lq.shape[0], *(min(side, _LARGEST) for side in lq.shape[1:]))
    fault, made = _passed(opt, 'network_g', phase, 'lq', small, MULTIPLES)
    if fault is not None:
        yield fault
    elif made is not None and torch.is_tensor(gt) and made[0] != gt.shape[0]:
        text = f'{options["type"]} makes {made[0]} channels of datasets:{phase}, whose ground truth has {gt.shape[0]}.'
        yield Problem('network_g', f'{text} Correct its channels, or color.')
    net = network(look_up(ARCH_REGISTRY, options['type']), options).eval()
    sizes = [size for root in roots(opt['datasets'][phase], 'dataroot_lq') for size in root.sizes()]
    if fault is not None or not sizes or not _is_light(net):
        return
    with torch.device('meta'):
        try:
            _in_multiples(net, small, MULTIPLES)
        except Exception:  # it needs numbers
            return
        width, height = max(sizes, key=lambda size: size[0] * size[1])
        try:
            _in_multiples(net, (small[0], height, width), MULTIPLES)
        except Exception as error:
            text = f'{options["type"]} cannot take the largest image of datasets:{phase}, {width} x {height}'
            yield Problem('network_g', f'{text}: {type(error).__name__}: {error}. Validate on smaller images.')


@torch.no_grad()
def _in_multiples(net: nn.Module, shape: tuple, multiples: Sequence[int]) -> Any:
    """What a network makes of images of ``shape``, continued to the first of ``multiples`` that it takes.

    Raises:
        Exception: What it says against the first one, if it takes none.
    """
    refused = None
    for multiple in multiples:
        try:
            return net(torch.zeros((2, shape[0], *(-(-side // multiple) * multiple for side in shape[1:]))))
        except Exception as error:
            refused = refused or error
    raise refused or ValueError('no multiples')


def _passed(
    opt: dict, key: str, phase: str, kind: str, shape: tuple, multiples: Sequence[int] = (1,)
) -> tuple[Problem | None, tuple | None]:
    """What a network says against images; and the shape that it makes of them."""
    options = opt[key]
    target, arguments = look_up(ARCH_REGISTRY, options['type']), {k: v for k, v in options.items() if k != 'type'}

    def forward(device: str) -> Any:
        net = network(target, options)
        net = target(**arguments) if device == 'cpu' and _is_light(net) else net
        return _in_multiples(net.train(phase == 'train'), shape, multiples)

    try:
        made = cheaply(forward)
        return None, tuple(made.shape[1:]) if torch.is_tensor(made) else None
    except Exception as error:
        where = f'images of datasets:{phase} ({kind}, {" x ".join(map(str, shape))})'
        return Problem(key, f'{options["type"]} cannot take the {where}: {type(error).__name__}: {error}'), None


def _metrics(opt: dict, phase: str, sample: dict) -> Iterator[Problem]:
    gt = sample.get('gt')
    size = gt.shape[-2:] if torch.is_tensor(gt) else None
    for name, options in section(opt, 'val', 'metrics').items():
        border = options.get('crop_border', 0)
        if size is not None and 2 * border >= min(size):
            text = f'{border} pixels at each side leave nothing of the images of datasets:{phase}'
            yield Problem(f'val:metrics:{name}:crop_border', f'{text}, {size[1]} x {size[0]}. Lower it.')
        elif look_up(METRIC_REGISTRY, options['type']).__module__.startswith('basicsr.'):
            # on a small picture: some arguments are looked at only when it measures
            side = _METRIC_SIZE + 2 * border
            picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
            arguments = {key: value for key, value in options.items() if key not in ('better', 'optional')}
            try:
                calculate_metric({'img': picture, 'img2': picture}, arguments)
            except Exception as error:
                yield Problem(f'val:metrics:{name}', refusal(options['type'], error))
