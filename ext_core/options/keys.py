"""Whether the keys of a section are known, have values of their kind, and are all there.

A key in the wrong section is the mistake that costs days, because nothing fails: it is refused, with the section where
it belongs.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from basicsr.models import lr_scheduler as basicsr_schedules
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ext_core.options.declared import (
    Compile,
    Metric,
    NonFinite,
    PairedKeys,
    PairedTrainKeys,
    dataset_keys,
    declared,
    model_keys,
    network_paths,
)
from ext_core.options.problems import LAUNCHER_DATASETS, Problem, did_you_mean, section
from ext_core.options.signatures import Parameter, fits, parameters_of, words
from ext_models.batch_augmentation import BatchAugmentation
from ext_models.degradations import degradation_class
from ext_models.degrader import Degrader
from ext_models.optimizers import find_optimizer
from ext_models.registries import look_up, registered

METRIC_GIVEN = ('img', 'img2')
SETTINGS = {  # sections of train that are no components
    'train:augment': parameters_of(BatchAugmentation),
    'train:nonfinite': parameters_of(NonFinite),
    'train:compile': {
        **parameters_of(Compile),
        **{key: p for key, p in parameters_of(torch.compile).items() if key != 'model'},
    },
}


def section_problems(
    opt: dict, where: str, values: Mapping, known: Mapping[str, Parameter], owner: str, needs: bool = True
) -> Iterator[Problem]:
    """What is wrong with the keys and values of a section.

    Args:
        opt (dict): The whole options, to say where a misplaced key belongs.
        where (str): Colon path of the section; '' is the top level.
        values (Mapping): The section.
        known (Mapping[str, Parameter]): The keys that it may have.
        owner (str): Who reads it, for messages.
        needs (bool): Whether needed keys have to be there. Default: True.
    """
    values = {  # without ~ where that is as missing, or takes out what the file of another model has
        key: value
        for key, value in values.items()
        if value is not None or not (known[key].needed if key in known else _of_others(opt, where, key))
    }
    yield from _unlike(
        opt, where, values, known, f'unknown key; {owner} would ignore it.', ' Remove it, or correct its spelling.'
    )
    for key, parameter in known.items():
        if needs and parameter.needed and values.get(key) is None:
            yield missing(f'{where}:{key}' if where else key, owner)


def _unlike(
    opt: dict, where: str, values: Mapping, known: Mapping[str, Parameter], unknown: str, remedy: str
) -> Iterator[Problem]:
    """Keys that are not declared, and values of another kind than declared."""
    for key, value in values.items():
        path = f'{where}:{key}' if where else key
        if key not in known:
            yield Problem(path, unknown + (belongs(opt, where, key) or did_you_mean(key, known) or remedy))
        elif not fits(value, known[key].schema):
            shown = f"the text '{value}'." if isinstance(value, str) else f"'{value}'."
            shown = '~. Leave the key out for its default.' if value is None else shown
            yield Problem(path, f'must be {words(known[key].schema)}, but is {shown}')


def _of_others(opt: dict, where: str, key: str) -> bool:
    """Whether a key of this section is that of another model or dataset; of ``path``, that of another network."""
    if where == 'path':
        network = f'network_{key.removesuffix("_except").rpartition("_")[2]}'
        return key in dict(network_paths([network])) and bool(belongs(opt, where, network))
    of_a_dataset = any(key in keys for _, kind in DATASET_REGISTRY for keys in dataset_keys(kind, True))
    return bool(belongs(opt, where, key)) or (where.startswith('datasets:') and of_a_dataset)


def missing(path: str, owner: str) -> Problem:
    """A needed key that is not there."""
    return Problem(path, f'is missing: {owner} needs it.')


def call_problems(
    opt: dict, where: str, target: Callable, arguments: Mapping, given: tuple = (), more: Mapping | None = None
) -> Iterator[Problem]:
    """What is wrong with calling a registered class or function with an option section.

    Args:
        opt (dict): The whole options.
        where (str): Colon path of the section.
        target (Callable): Class or function.
        arguments (Mapping): The section; ``type`` is left out.
        given (tuple): Parameters that the caller provides; the section must not name them.
        more (Mapping | None): Parameters that the section may have for others. Default: none.
    """
    known = {name: p for name, p in {**parameters_of(target), **(more or {})}.items() if name not in given}
    name = getattr(target, '__name__', str(target))
    values = {key: value for key, value in arguments.items() if key != 'type'}
    takes = f' It takes: {", ".join(known) or "none"}.'
    yield from _unlike(opt, where, values, known, f'{name} has no such argument.', takes)
    for key, parameter in known.items():
        if parameter.needed and key not in arguments:
            yield missing(f'{where}:{key}', name)


def belongs(opt: dict, where: str, key: str) -> str:
    """' It belongs in ...', or '' where no other section takes the key."""
    places = [place or 'the top level' for place, known in _sections(opt).items() if key in known and place != where]
    if places:
        return f' It belongs in {" or in ".join(places[:3])}.'
    others = sorted(
        name.removesuffix('_basicsr')
        for name, model in MODEL_REGISTRY
        if any(key in declared(model, kind) for kind in ('TrainOptions', 'FileOptions', 'ValOptions'))
    )
    return f' It is a key of {", ".join(others[:5])}{", ..." if len(others) > 5 else ""}.' if others else ''


def takes(opt: dict, where: str, key: str) -> bool:
    """Whether a section is known to take a key."""
    return key in _sections(opt).get(where, {})


def misplaced(opt: dict, key: str) -> bool:
    """Whether a key in the section of a dataset that declares nothing belongs elsewhere for certain."""
    known = model_keys(look_up(MODEL_REGISTRY, opt.get('model_type')))
    shared = {**parameters_of(PairedKeys), **parameters_of(PairedTrainKeys)}
    return key not in shared and any(key in keys for keys in known.values())


def _sections(opt: dict) -> dict[str, Mapping[str, Parameter]]:
    """Every section of the options whose keys are known, with the keys that have an effect there."""
    model = look_up(MODEL_REGISTRY, opt.get('model_type'))
    found: dict[str, Mapping[str, Parameter]] = dict(model_keys(model))
    found |= {where: keys for where, keys in SETTINGS.items() if where.removeprefix('train:') in found['train']}
    for phase in section(opt, 'datasets'):
        dataset = look_up(DATASET_REGISTRY, section(opt, 'datasets', phase).get('type'))
        if dataset:
            known, _ = dataset_keys(dataset, phase == 'train')
            found[f'datasets:{phase}'] = {key: p for key, p in known.items() if key not in LAUNCHER_DATASETS}
    for where, _, target, given in components(opt):
        if target:
            found[where] = {name: p for name, p in parameters_of(target).items() if name not in given}
            if where.startswith('val:metrics:'):
                found[where] = {**found[where], **parameters_of(Metric)}
            if where == 'degrade':
                found[where] = {**found[where], **parameters_of(Degrader.Options)}
            if where.startswith('train:optim_') and not adam_only(model):
                found[where] = {**found[where], 'lr_mult': Parameter({'type': 'object'}, None, '')}
    return found


def adam_only(model: type | None) -> bool:
    """Whether a model builds its optimizers as BasicSR does: of its types only Adam is there in all versions."""
    return getattr(getattr(model, 'get_optimizer', None), '__module__', '').startswith('basicsr.')


def components(opt: dict) -> Iterator[tuple[str, Any, Any, tuple]]:
    """Sections of networks, losses, optimizers and metrics: path, section, the class or function that its type names
    (None where there is none), and what it is given beside the section."""
    for key in opt:
        if key.startswith('network_'):
            yield key, opt[key], registered(ARCH_REGISTRY, opt[key]), ()
    if opt.get('degrade') is not None:
        yield 'degrade', opt['degrade'], degradation_class(section(opt, 'degrade').get('type')), ('scale',)
    train = section(opt, 'train')
    for key, value in train.items():
        if key.endswith('_opt'):
            yield f'train:{key}', value, registered(LOSS_REGISTRY, value), ()
        elif key.startswith('optim_'):
            optimizer = find_optimizer(value.get('type')) if isinstance(value, dict) else None
            yield f'train:{key}', value, optimizer, ('params',)
    for name, value in section(train, 'losses').items():
        yield f'train:losses:{name}', value, registered(LOSS_REGISTRY, value), ()
    schedule = schedules(look_up(MODEL_REGISTRY, opt.get('model_type'))).get(
        str(section(train, 'scheduler').get('type'))
    )
    if train.get('scheduler') is not None:
        yield 'train:scheduler', train['scheduler'], schedule, ('optimizer',)
    for name, value in section(opt, 'val', 'metrics').items():
        yield f'val:metrics:{name}', value, registered(METRIC_REGISTRY, value), METRIC_GIVEN


def schedules(model: type | None) -> dict[str, type]:
    """The schedules that a model takes, by name: BasicSR's, or where the model says so those of torch and its own."""
    own = getattr(model, 'SCHEDULERS', None)
    if own is None:
        restart = basicsr_schedules.MultiStepRestartLR
        return {
            'MultiStepLR': restart,
            'MultiStepRestartLR': restart,
            'CosineAnnealingRestartLR': basicsr_schedules.CosineAnnealingRestartLR,
        }
    base = torch.optim.lr_scheduler.LRScheduler
    found = {n: v for n, v in vars(torch.optim.lr_scheduler).items() if isinstance(v, type) and issubclass(v, base)}
    return {name: value for name, value in found.items() if not name.startswith('_') and value is not base} | own
