"""The model, and the losses, optimizers, schedules and metrics that it is told to build."""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ext_core.check import sources
from ext_core.check.hints import call_problems, did_you_mean, is_number, look_up, section, unknown_type
from ext_core.check.trials import optimizer_steps, scheduler_steps, trial

_GAN_NEEDS = frozenset({'network_d', 'train:gan_opt', 'train:optim_d'})
_METRIC_IMAGES = ('img', 'img2')
_CLIPPING = {'norm': 'max', 'value': 'max', 'adjustable': 'theta'}  # type of grad_clip: its number


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
            yield from _switches(opt)
        yield from _losses(opt)
    yield from _metrics(opt)
    if is_train:
        yield from _save_best(opt, model)
    if hasattr(model, 'option_problems'):
        yield from model.option_problems(opt)


# ---------------------------------------------------------------------- what a model needs
def _needs(opt: dict, model: type) -> Iterator[str]:
    needs = set().union(*(vars(base).get('NEEDS', ()) for base in model.__mro__))
    needs -= set().union(*(vars(base).get('OPTIONAL', ()) for base in model.__mro__))
    if model.__module__.startswith('basicsr.'):
        needs |= {'train:optim_g', 'train:scheduler'}
    if issubclass(model, SRGANModel):
        needs |= _GAN_NEEDS
    for path in sorted(needs):
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
        ours = not loss.__module__.startswith('basicsr.')  # BasicSR's PerceptualLoss would download its weights
        yield from faults or trial(where, loss if ours else None, arguments)


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


def _switches(opt: dict) -> Iterator[str]:
    """Values of our training keys that a model would refuse when it is built."""
    train = section(opt, 'train')
    if train.get('amp') not in (None, 'bf16', 'fp16'):
        yield f"train:amp must be bf16, fp16 or left out, but is '{train['amp']}'."
    clip = train.get('grad_clip')
    if clip and not _is_clipping(clip):
        yield (
            'train:grad_clip must be like {type: norm, max: 1.0}, {type: value, max: 0.1} or '
            f"{{type: adjustable, theta: 0.01}}, but is '{clip}'."
        )
    alone = is_number(opt.get('num_gpu')) and opt['num_gpu'] > 1 and not opt.get('dist')  # DataParallel's threads
    if alone and (train.get('amp') or train.get('compile')):
        yield 'train:amp and train:compile work with one process a GPU: start with torchrun and --launcher pytorch.'
    if isinstance(train.get('compile'), dict):
        yield from call_problems('train:compile', torch.compile, train['compile'], given=('model',))
    batch, parts = section(opt, 'datasets', 'train').get('batch_size_per_gpu'), train.get('accumulate', 1)
    if isinstance(batch, int) and isinstance(parts, int) and parts > 0 and batch % parts:
        yield f'train:accumulate: a batch of {batch} cannot be split into {parts} equal parts. Choose a divisor of it.'


def _is_clipping(clip: Any) -> bool:
    if not isinstance(clip, dict) or clip.get('type') not in _CLIPPING:
        return False
    number = _CLIPPING[clip['type']]
    return set(clip) == {'type', number} and is_number(clip[number]) and clip[number] > 0


# ---------------------------------------------------------------------- optimizers and schedules
def _optimizers(opt: dict, model: type) -> Iterator[str]:
    known = {
        name: c
        for name, c in vars(torch.optim).items()
        if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer) and c is not torch.optim.Optimizer
    }
    if _is_stock(model, 'get_optimizer'):
        known = {'Adam': torch.optim.Adam}
    for key, arguments in section(opt, 'train').items():
        if not str(key).startswith('optim_') or arguments is None:
            continue
        where = f'train:{key}'
        name = arguments.get('type') if isinstance(arguments, dict) else None
        if name not in known:
            hint = did_you_mean(name, known) or f' {model.__name__} takes: {", ".join(sorted(known))}.'
            yield f"{where}:type: there is no optimizer '{name}' for {model.__name__}.{hint}"
            continue
        faults = list(call_problems(where, known[name], arguments, given=('params',)))
        yield from faults
        if not is_number(arguments.get('lr')) or arguments['lr'] < 0:
            yield f"{where}:lr must be a number, 0 or more, but is '{arguments.get('lr')}'. Write for instance 1e-4."
        elif not faults:
            yield from trial(where, optimizer_steps(known[name]), arguments)


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


# ---------------------------------------------------------------------- metrics
def _metrics(opt: dict) -> Iterator[str]:
    without_gt = [
        phase for phase in section(opt, 'datasets') if _is_without_gt(section(opt, 'datasets', phase).get('type'))
    ]
    metrics = section(opt, 'val').get('metrics')
    if metrics is not None and not isinstance(metrics, dict):
        yield f"val:metrics must be a section of metrics by name, but is '{metrics}'."
    for key, options in section(opt, 'val', 'metrics').items():
        where = f'val:metrics:{key}'
        name = options.get('type') if isinstance(options, dict) else None
        metric = look_up(METRIC_REGISTRY, name)
        if metric is None:
            yield unknown_type(where, name, 'metric', METRIC_REGISTRY)
            continue
        faults = list(call_problems(where, metric, _metric_arguments(options), _METRIC_IMAGES))
        yield from faults
        if not faults and not options.get('optional'):
            yield from _metric_trial(where, options)
        border = options.get('crop_border', 0)
        if not isinstance(border, int) or border < 0:
            yield f"{where}:crop_border must be a whole number, 0 or more, but is '{border}'."
        better = options.get('better', 'higher')
        if better not in ('higher', 'lower'):
            yield f"{where}:better must be 'higher' or 'lower', but is '{better}'."
        if not isinstance(options.get('optional', False), bool):
            yield f"{where}:optional must be true or false, but is '{options['optional']}'."
        if 'img2' in inspect.signature(metric).parameters:
            for phase in without_gt:
                yield (
                    f'{where}: {name} compares with the ground truth, which datasets:{phase} '
                    '(SingleImageDataset) does not have. Use PairedImageDataset, or a metric without reference '
                    'such as calculate_niqe.'
                )


def _save_best(opt: dict, model: Any) -> Iterator[str]:
    """The metric that decides which network is kept must be measured in every validation."""
    name, metrics = section(opt, 'val').get('save_best'), section(opt, 'val', 'metrics')
    if name is None:
        return
    known = [*metrics, *getattr(model, 'VALIDATION_FIGURES', ())]
    if name not in known:
        hint = did_you_mean(name, known) or f' There are: {", ".join(known) or "none"}.'
        yield f"val:save_best: there is no metric '{name}' in val:metrics.{hint}"
    elif section(metrics, name).get('optional'):
        yield f'val:save_best: val:metrics:{name} is optional, so it may be left out. Remove its optional: true.'
    if not any(str(phase).split('_')[0] == 'val' for phase in section(opt, 'datasets')):
        yield 'val:save_best needs a validation set. Add datasets:val, or remove save_best.'


def leave_out_metrics(opt: dict) -> list[str]:
    """Take the optional metrics that cannot run on this machine out of checked options.

    A section of ``val:metrics`` is optional if it says ``optional: true``. The word is taken out of those that stay:
    a metric would get it as an argument.

    Args:
        opt (dict): Options in which :func:`problems` finds nothing. ``val:metrics`` is changed; None if none is left.

    Returns:
        list[str]: One message for each metric left out: which, why, the remedy.
    """
    metrics, said = section(opt, 'val', 'metrics'), []
    for key, options in list(metrics.items()):
        missing = list(_metric_trial(f'val:metrics:{key}', options)) if options.get('optional') else []
        said += [f'an optional metric is left out of this run. {reason}' for reason in missing]
        if missing:
            del metrics[key]
        else:
            metrics[key] = {name: value for name, value in options.items() if name != 'optional'}
    if said and not metrics:
        opt['val']['metrics'] = None  # an empty section would log empty results
    return said


def _metric_arguments(options: dict) -> dict:
    """What a metric itself gets of its section; the rest is for those who run it."""
    return {name: value for name, value in options.items() if name not in ('better', 'optional')}


def _metric_trial(where: str, options: dict) -> Iterator[str]:
    """What a metric lacks on this machine, as far as it can say."""
    metric = look_up(METRIC_REGISTRY, options['type'])
    return trial(where, getattr(metric, 'check_ready', None), _metric_arguments(options))


def _is_without_gt(name: Any) -> bool:
    dataset = look_up(DATASET_REGISTRY, name)
    return inspect.isclass(dataset) and issubclass(dataset, SingleImageDataset)
