"""Whether the keys of a section are known, have values of their kind, and are all there.

A key in the wrong section is the mistake that costs days, because nothing fails: it is refused, with the section where
it belongs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from basicsr.models import lr_scheduler as basicsr_schedules
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ext_arch.spandrel_networks import NETWORKS
from ext_arch.spandrel_networks import how_to_get as how_to_get_network
from ext_core.options.declared import (
    Compile,
    Metric,
    NonFinite,
    Optimizer,
    PairedKeys,
    PairedTrainKeys,
    Schedule,
    dataset_keys,
    declared,
    model_keys,
    network_paths,
)
from ext_core.options.problems import LAUNCHER_DATASETS, Problem, did_you_mean, section, unknown_type
from ext_core.options.signatures import Parameter, fits, parameters_of, words
from ext_models.batch_augmentation import BatchAugmentation
from ext_models.degradations import DEGRADATION_REGISTRY, Mixture, degradation_class
from ext_models.degrader import Degrader
from ext_models.optimizers import find_optimizer, optimizer_names, where_to_get_more
from ext_models.registries import look_up

METRIC_GIVEN = ('img', 'img2')
SETTINGS = {  # sections of train that are no components
    'train:augment': parameters_of(BatchAugmentation),
    'train:nonfinite': parameters_of(NonFinite),
    'train:compile': {
        **parameters_of(Compile),
        **{key: p for key, p in parameters_of(torch.compile).items() if key != 'model'},
    },
}


class Component(NamedTuple):
    """A section that names a class or function by ``type``.

    Args:
        where (str): Colon path of the section.
        options (Any): What stands there: a section, or a mistake.
        kind (str): network, degradation, loss, optimizer, schedule or metric.
        target (Any): What the type names; None where there is none of this name.
        known (Mapping[str, Parameter]): The keys that the section takes beside ``type``.
    """

    where: str
    options: Any
    kind: str
    target: Any
    known: Mapping[str, Parameter]

    @property
    def arguments(self) -> dict:
        """What the class or function itself gets; other keys are for those who use it."""
        own = parameters_of(self.target)
        return {key: value for key, value in self.options.items() if key in own}


def components(opt: dict) -> Iterator[Component]:
    """Sections of networks, degradations, losses, optimizers, the schedule and metrics."""
    train, model = section(opt, 'train'), look_up(MODEL_REGISTRY, opt.get('model_type'))
    sections = [(key, opt[key], 'network') for key in opt if key.startswith('network_')]
    sections += [('degrade', opt.get('degrade'), 'degradation')]
    sections += [(f'train:{key}', value, 'loss') for key, value in train.items() if key.endswith('_opt')]
    sections += [(f'train:losses:{key}', value, 'loss') for key, value in section(train, 'losses').items()]
    sections += [(f'train:{key}', value, 'optimizer') for key, value in train.items() if key.startswith('optim_')]
    sections += [('train:scheduler', train.get('scheduler'), 'schedule')]
    sections += [(f'val:metrics:{key}', value, 'metric') for key, value in section(opt, 'val', 'metrics').items()]
    ways: dict[str, tuple[Callable, Callable]] = {
        'network': (partial(look_up, ARCH_REGISTRY), parameters_of),
        'degradation': (degradation_class, degradation_keys),
        'loss': (partial(look_up, LOSS_REGISTRY), parameters_of),
        'optimizer': ({'Adam': torch.optim.Adam}.get if adam_only(model) else find_optimizer, optimizer_keys),
        'schedule': (schedules(model).get, schedule_keys),
        'metric': (partial(look_up, METRIC_REGISTRY), metric_keys),
    }
    for where, options, kind in sections:
        if options is None:
            continue
        find, keys_of = ways[kind]
        name = options.get('type') if isinstance(options, dict) else None
        target = find(name) if isinstance(name, str) else None
        known = keys_of(target) if target else {}
        if kind == 'optimizer' and adam_only(model):
            known.pop('lr_mult', None)
        if ':of:' in where:
            known = {key: p for key, p in known.items() if key not in parameters_of(Degrader.Options)}
        yield Component(where, options, kind, target, known)
        if target is Mixture and isinstance(options.get('of'), list):
            sections += [(f'{where}:of:{number}', part, kind) for number, part in enumerate(options['of'])]


def optimizer_keys(target: Callable) -> dict[str, Parameter]:
    """The keys of an optimizer's section."""
    return {key: p for key, p in {**parameters_of(target), **parameters_of(Optimizer)}.items() if key != 'params'}


def schedule_keys(target: Callable) -> dict[str, Parameter]:
    """The keys of a schedule's section."""
    said = parameters_of(Schedule)
    return {key: said.get(key, p) for key, p in parameters_of(target).items() if key != 'optimizer'}


def metric_keys(target: Callable) -> dict[str, Parameter]:
    """The keys of a metric's section. The metric says whether it takes and needs ``crop_border``."""
    own, said = parameters_of(target), parameters_of(Metric)
    keys = {key: said.get(key, p)._replace(default=p.default) for key, p in own.items() if key not in METRIC_GIVEN}
    return {**{key: p for key, p in said.items() if key != 'crop_border'}, **keys}


def degradation_keys(target: Callable) -> dict[str, Parameter]:
    """The keys of the section degrade."""
    own = {**parameters_of(target), **parameters_of(Degrader.Options)}
    if target.__name__ in DEGRADATION_REGISTRY:
        return {key: p for key, p in own.items() if key != 'scale'}
    return {**own, 'weights': Parameter({'type': 'string'}, None, '')}


def component_problems(opt: dict, part: Component) -> Iterator[Problem]:
    """What is wrong with the type, the keys and their values."""
    where, options, kind, target, known = part
    if not isinstance(options, dict):
        yield Problem(where, f"must be a section with a type, but is '{options}'.")
    elif target is not None:
        values, owner = {k: v for k, v in options.items() if k != 'type'}, getattr(target, '__name__', '')
        yield from section_problems(opt, where, values, known, owner, is_call=True)
    elif kind == 'network' and (remedy := how_to_get_network(options.get('type'))):
        yield Problem(f'{where}:type', remedy)
    else:
        model = look_up(MODEL_REGISTRY, opt.get('model_type'))
        names: dict[str, Iterable[str]] = {
            'network': [*dict(iter(ARCH_REGISTRY)), *NETWORKS],
            'degradation': dict(iter(DEGRADATION_REGISTRY)),
            'loss': dict(iter(LOSS_REGISTRY)),
            'optimizer': ['Adam'] if adam_only(model) else optimizer_names(),
            'schedule': schedules(model),
            'metric': dict(iter(METRIC_REGISTRY)),
        }
        of = f' for {model.__name__}' if kind in ('optimizer', 'schedule') else ''
        more = where_to_get_more() if kind == 'optimizer' and not adam_only(model) else ''
        yield unknown_type(where, options.get('type'), kind, names[kind], of, more)


def section_problems(
    opt: dict,
    where: str,
    values: Mapping,
    known: Mapping[str, Parameter],
    owner: str,
    needs: bool = True,
    is_call: bool = False,
) -> Iterator[Problem]:
    """What is wrong with the keys and values of a section.

    Args:
        opt (dict): The whole options, to say where a misplaced key belongs.
        where (str): Colon path of the section; '' is the top level.
        values (Mapping): The section.
        known (Mapping[str, Parameter]): The keys that it may have.
        owner (str): Who reads it, for messages.
        needs (bool): Whether needed keys have to be there. Default: True.
        is_call (bool): Whether the keys are arguments, so that none may be there which is not known, not even as ``~``
            to take out what the file of another model has. Default: False.
    """
    unknown, remedy = f'unknown key; {owner} would ignore it.', ' Remove it, or correct its spelling.'
    if is_call:
        unknown, remedy = f'{owner} has no such argument.', f' It takes: {", ".join(known) or "none"}.'
    for key, value in values.items():
        path = f'{where}:{key}' if where else key
        if key not in known:
            if is_call or value is not None or not _of_others(opt, where, key):
                yield Problem(path, unknown + (belongs(opt, where, key) or did_you_mean(key, known) or remedy))
        elif not fits(value, known[key].schema) and not (value is None and known[key].needed):
            shown = f"the text '{value}'." if isinstance(value, str) else f"'{value}'."
            shown = '~. Leave the key out for its default.' if value is None else shown
            yield Problem(path, f'must be {words(known[key].schema)}, but is {shown}')
    for key, parameter in known.items():
        if needs and parameter.needed and values.get(key) is None:
            yield Problem(f'{where}:{key}' if where else key, f'is missing: {owner} needs it.')


def _of_others(opt: dict, where: str, key: str) -> bool:
    """Whether a key of this section is that of another model or dataset; of ``path``, that of another network."""
    if where == 'path':
        network = f'network_{key.removesuffix("_except").rpartition("_")[2]}'
        return key in dict(network_paths([network])) and bool(belongs(opt, where, network))
    of_a_dataset = any(key in keys for _, kind in DATASET_REGISTRY for keys in dataset_keys(kind, True))
    return bool(belongs(opt, where, key)) or (where.startswith('datasets:') and of_a_dataset)


def belongs(opt: dict, where: str, key: str) -> str:
    """' It belongs in ...', or '' where no other section takes the key."""
    places = [place or 'the top level' for place, known in sections(opt).items() if key in known and place != where]
    if places:
        return f' It belongs in {" or in ".join(places[:3])}.'
    others = sorted(
        name.removesuffix('_basicsr')
        for name, model in MODEL_REGISTRY
        if any(key in declared(model, kind) for kind in ('TrainOptions', 'FileOptions', 'ValOptions'))
    )
    return f' It is a key of {", ".join(others[:5])}{", ..." if len(others) > 5 else ""}.' if others else ''


def misplaced(opt: dict, key: str) -> bool:
    """Whether a key in the section of a dataset that declares nothing belongs elsewhere for certain."""
    known = model_keys(look_up(MODEL_REGISTRY, opt.get('model_type')))
    shared = {**parameters_of(PairedKeys), **parameters_of(PairedTrainKeys)}
    return key not in shared and any(key in keys for keys in known.values())


def plain_sections(model: type | None) -> dict[str, Mapping[str, Parameter]]:
    """The sections of a file for this model that name no class, with the keys that have an effect there."""
    found: dict[str, Mapping[str, Parameter]] = dict(model_keys(model))
    return found | {where: keys for where, keys in SETTINGS.items() if where.removeprefix('train:') in found['train']}


def sections(opt: dict) -> dict[str, Mapping[str, Parameter]]:
    """Every section of the options whose keys are known, with the keys that have an effect there."""
    found = plain_sections(look_up(MODEL_REGISTRY, opt.get('model_type')))
    for phase in section(opt, 'datasets'):
        dataset = look_up(DATASET_REGISTRY, section(opt, 'datasets', phase).get('type'))
        if dataset:
            known, _ = dataset_keys(dataset, phase == 'train')
            found[f'datasets:{phase}'] = {key: p for key, p in known.items() if key not in LAUNCHER_DATASETS}
    return found | {part.where: part.known for part in components(opt) if part.target}


def adam_only(model: type | None) -> bool:
    """Whether a model builds its optimizers as BasicSR does: of its types only Adam is there in all versions."""
    return getattr(getattr(model, 'get_optimizer', None), '__module__', '').startswith('basicsr.')


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
