"""The model, and the losses, optimizers, schedules and metrics that it is told to build."""

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from basicsr.losses.basic_loss import PerceptualLoss
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY

from ext_core.check import metrics, nonfinite, sources
from ext_core.check.hints import call_problems, did_you_mean, is_number, look_up, section, unknown_type
from ext_core.check.trials import build, optimizer_steps, scheduler_steps, trial
from ext_core.training.optimizers import find_optimizer, optimizer_names, where_to_get_more

_GAN_NEEDS = frozenset({'network_d', 'train:gan_opt', 'train:optim_d'})
AMP = ('bf16', 'fp16')
CLIPPING = {'norm': 'max', 'value': 'max', 'adjustable': 'theta'}  # type of grad_clip: its number


def problems(opt: dict, is_train: bool) -> Iterator[str]:
    """Names that no registry holds, arguments that do not fit, parts that the model needs."""
    model = look_up(MODEL_REGISTRY, opt.get('model_type'))
    if model is None and opt.get('model_type') is not None:
        yield unknown_type('model_type', opt['model_type'], 'model', MODEL_REGISTRY).replace(
            'model_type:type', 'model_type'
        )
    if is_train:
        if model is not None:
            yield from _needs(opt, model)
            yield from _optimizers(opt, model)
            yield from _scheduler(opt, model)
            yield from _objective(opt, model)
            yield from _switches(opt, model)
        yield from _losses(opt)
    yield from metrics.problems(opt)
    if is_train:
        yield from metrics.save_best(opt, model)
    if hasattr(model, 'option_problems'):
        yield from model.option_problems(opt)


# ---------------------------------------------------------------------- what a model needs
def needs_of(model: type) -> set[str]:
    """The colon paths without which a model cannot be trained."""
    needs: set[str] = set().union(*(vars(base).get('NEEDS', ()) for base in model.__mro__))
    needs -= set().union(*(vars(base).get('OPTIONAL', ()) for base in model.__mro__))
    if model.__module__.startswith('basicsr.'):
        needs |= {'train:optim_g', 'train:scheduler'}
    return needs | _GAN_NEEDS if issubclass(model, SRGANModel) else needs


def _needs(opt: dict, model: type) -> Iterator[str]:
    for path in sorted(needs_of(model)):
        *above, last = path.split(':')
        if section(opt, *above).get(last) is None:
            yield f'{path} is missing: {model.__name__} needs it. Add it, or choose another model_type.'
    for name, method in (('SRModel', 'init_training_settings'), ('ExtSRModel', 'init_losses')):
        owner = look_up(MODEL_REGISTRY, name)
        if owner and getattr(model, method, None) is getattr(owner, method):
            train = section(opt, 'train')
            if train and not train.get('pixel_opt') and not train.get('perceptual_opt'):
                yield (
                    f'train: neither pixel_opt nor perceptual_opt is given, so {model.__name__} has no loss. '
                    'Add one, for instance pixel_opt: {type: L1Loss}.'
                )


def _losses(opt: dict) -> Iterator[str]:
    for key, arguments in section(opt, 'train').items():
        if not str(key).endswith('_opt') or not arguments:
            continue
        where = f'train:{key}'
        if not isinstance(arguments, dict):
            yield f"{where} must be a section with a type, but is '{arguments}'."
            continue
        loss = look_up(LOSS_REGISTRY, arguments.get('type'))
        if loss is None:
            yield unknown_type(where, arguments.get('type'), 'loss', LOSS_REGISTRY)
            continue
        faults = list(call_problems(where, loss, arguments))
        downloads = issubclass(loss, PerceptualLoss)
        yield from faults or trial(where, None if downloads else partial(_built, loss), arguments)


def _built(loss: type, **arguments: Any) -> None:
    build(loss, arguments)


def _objective(opt: dict, model: type) -> Iterator[str]:
    """A model that asks its objective for both players' losses needs one that has them."""
    name = section(opt, 'train', 'gan_opt').get('type')
    loss, method = look_up(LOSS_REGISTRY, name), 'generator_loss'
    if loss is not None and not hasattr(loss, method) and method in (sources.strings_of(model) or ()):
        fitting = sorted(key for key, value in LOSS_REGISTRY if hasattr(value, method))
        yield (
            f"train:gan_opt:type: '{name}' is no adversarial objective for {model.__name__}. Use one of: "
            f"{', '.join(fitting)}. AdversarialLoss (as SRGAN's) and RelativisticAdversarialLoss (as ESRGAN's) take "
            "GANLoss's arguments."
        )


def _switches(opt: dict, model: type) -> Iterator[str]:
    """Values of our training keys that a model would refuse when it is built."""
    train = section(opt, 'train')
    extra = set().union(*(vars(base).get('EXTRA_TRAIN_KEYS', ()) for base in model.__mro__))
    if 'pretrain_iters' in extra and bool(train.get('pretrain_iters')) != bool(train.get('pretrain_opt')):
        yield 'train: pretrain_iters and pretrain_opt belong together. Give both, or none.'
    if train.get('amp') not in (None, *AMP):
        yield f"train:amp must be bf16, fp16 or left out, but is '{train['amp']}'."
    clip = train.get('grad_clip')
    if clip and not _is_clipping(clip):
        yield (
            'train:grad_clip must be like {type: norm, max: 1.0}, {type: value, max: 0.1} or '
            f"{{type: adjustable, theta: 0.01}}, but is '{clip}'."
        )
    yield from nonfinite.problems(train.get('nonfinite'), model)
    alone = is_number(opt.get('num_gpu')) and opt['num_gpu'] > 1 and not opt.get('dist')  # DataParallel's threads
    if alone and (train.get('amp') or train.get('compile')):
        yield 'train:amp and train:compile work with one process a GPU: start with torchrun and --launcher pytorch.'
    if not isinstance(train.get('compile'), bool | dict | None):
        yield f"train:compile must be true, false or a section, but is '{train['compile']}'."
    if isinstance(train.get('compile'), dict):
        yield from call_problems('train:compile', torch.compile, train['compile'], given=('model',))
    batch, parts = section(opt, 'datasets', 'train').get('batch_size_per_gpu'), train.get('accumulate', 1)
    if isinstance(batch, int) and isinstance(parts, int) and parts > 0 and batch % parts:
        yield f'train:accumulate: a batch of {batch} cannot be split into {parts} equal parts. Choose a divisor of it.'


def _is_clipping(clip: Any) -> bool:
    if not isinstance(clip, dict) or clip.get('type') not in CLIPPING:
        return False
    number = CLIPPING[clip['type']]
    return set(clip) == {'type', number} and is_number(clip[number]) and clip[number] > 0


# ---------------------------------------------------------------------- optimizers and schedules
def _optimizers(opt: dict, model: type) -> Iterator[str]:
    stock = _is_stock(model, 'get_optimizer')
    for key, arguments in section(opt, 'train').items():
        if not str(key).startswith('optim_') or arguments is None:
            continue
        where = f'train:{key}'
        name = arguments.get('type') if isinstance(arguments, dict) else None
        known = ['Adam'] if stock else optimizer_names()
        optimizer = None if stock and name != 'Adam' else find_optimizer(name)
        if optimizer is None:
            more = did_you_mean(name, known) or f' {model.__name__} takes: {", ".join(known)}.'
            more += '' if stock else where_to_get_more()
            yield f"{where}:type: there is no optimizer '{name}' for {model.__name__}.{more}"
            continue
        if not stock:
            arguments = {key: value for key, value in arguments.items() if key != 'lr_mult'}  # ours, for every one
        faults = list(call_problems(where, optimizer, arguments, given=('params',)))
        yield from faults
        if not is_number(arguments.get('lr')) or not 0 <= arguments['lr'] <= 1:
            yield f"{where}:lr must be a number from 0 to 1, but is '{arguments.get('lr')}'. Write for instance 1e-4."
        elif not faults:
            yield from trial(where, optimizer_steps(optimizer), arguments)


def _is_stock(model: type, method: str) -> bool:
    """Whether a model's method is BasicSR's own."""
    return getattr(getattr(model, method, None), '__module__', '').startswith('basicsr.')


def _scheduler(opt: dict, model: type) -> Iterator[str]:
    arguments = section(opt, 'train').get('scheduler')
    if arguments is None:
        return
    known = _schedulers(model)
    name = arguments.get('type') if isinstance(arguments, dict) else None
    if name not in known:
        hint = did_you_mean(name, known) or f' {model.__name__} takes: {", ".join(sorted(known))}.'
        yield f"train:scheduler:type: there is no schedule '{name}' for {model.__name__}.{hint}"
        return
    # a model may fill total_iter in from train:total_iter
    given = ['optimizer', *({'total_iter'} - set(arguments))]
    faults = list(call_problems('train:scheduler', known[name], arguments, given))
    yield from faults
    periods, weights = arguments.get('periods'), arguments.get('restart_weights', (1,))
    if isinstance(periods, list) and isinstance(weights, list | tuple) and len(periods) != len(weights):
        yield (
            f'train:scheduler: {len(periods)} periods but {len(weights)} restart_weights. '
            'Give one weight for each period.'
        )
    elif not faults and is_number(section(opt, 'train').get('total_iter')):
        steps = scheduler_steps(known[name], section(opt, 'train')['total_iter'])
        yield from trial('train:scheduler', steps, arguments)


def _schedulers(model: type) -> dict[str, type]:
    """Schedules by the name that the model's ``setup_schedulers`` takes: those within reach of its module."""
    base = torch.optim.lr_scheduler.LRScheduler
    modules = [inspect.getmodule(getattr(c, 'setup_schedulers', None)) for c in model.__mro__]
    places = [vars(module) for module in modules if module is not None]
    places += [
        vars(value)
        for place in list(places)
        for value in place.values()
        if inspect.ismodule(value) and value.__name__.endswith(('lr_scheduler', 'lr_schedulers'))
    ]
    if not _is_stock(model, 'setup_schedulers'):
        places.insert(0, vars(torch.optim.lr_scheduler))
    known = {
        name: value
        for place in places
        for name, value in place.items()
        if inspect.isclass(value) and issubclass(value, base) and not name.startswith('_') and value is not base
    }
    known['MultiStepLR'] = known.get('MultiStepRestartLR', torch.optim.lr_scheduler.MultiStepLR)  # BasicSR's alias
    return known
