"""One conditional for each registered network, loss, dataset and metric, each optimizer and schedule: if its type is
this, then its arguments are these."""

import inspect
from collections.abc import Collection
from typing import Any

import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.models import lr_scheduler as basicsr_schedules
from basicsr.utils.file_client import FileClient
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from ext_core.check import datasets as dataset_check
from ext_core.check import docs, kinds, sources
from ext_core.schema import words

_HOMES = ('basicsr', 'ext_arch', 'ext_losses', 'ext_data', 'ext_metrics', 'ext_models')
RUNNERS: dict[str, dict] = {  # of a metric's section, for those who run it
    'better': {'description': 'Which is better.', 'enum': ['higher', 'lower']},
    'optional': {'description': 'Leave it out where it cannot run.', 'type': 'boolean'},
    'crop_border': {'description': 'Pixels left out at each side.', 'type': 'integer', 'minimum': 0},
}
_LR_MULT = {
    'description': 'Factors on the learning rate by layer.',
    'type': ['object', 'null'],
    'additionalProperties': {'type': 'number', 'minimum': 0},
}


def is_ours(value: Any) -> bool:
    """Whether a class is BasicSR's or of this project, so that the schema does not depend on what else is loaded."""
    return value.__module__.partition('.')[0] in (
        'basicsr',
        'ext_arch',
        'ext_losses',
        'ext_data',
        'ext_metrics',
        'ext_models',
    )


def definitions() -> dict:
    """``$defs``: for each kind of section what any of it may hold, and what a complete one must (``whole_<kind>``)."""
    optimizers = {name: value for name, value in vars(torch.optim).items() if _is_a(value, torch.optim.Optimizer)}
    losses, networks = _registered(LOSS_REGISTRY), _registered(ARCH_REGISTRY)
    found = {
        'network': _kind('network', {name: called(value) for name, value in networks.items()}),
        'loss': _kind('loss', {name: called(value) for name, value in losses.items()}),
        'dataset': _kind('dataset', {name: _dataset(value) for name, value in _registered(DATASET_REGISTRY).items()}),
        'metric': _kind('metric', {name: _metric(value) for name, value in _registered(METRIC_REGISTRY).items()}),
        'optimizer': _kind('optimizer', {name: _optimizer(value) for name, value in sorted(optimizers.items())}, True),
        'scheduler': _kind('schedule', {name: _schedule(value) for name, value in sorted(_schedules().items())}),
    }
    whole = {
        'whole_network': _whole({name: _needed(value) for name, value in networks.items()}),
        'whole_loss': _whole({name: _needed(value) for name, value in losses.items()}),
        'whole_dataset': _whole({n: dataset_needs(value) for n, value in _registered(DATASET_REGISTRY).items()}),
    }
    return {**found, **whole}


def _registered(registry: Any) -> dict[str, Any]:
    return {name.removesuffix('_basicsr'): value for name, value in sorted(registry) if is_ours(value)}


def _is_a(value: Any, base: type) -> bool:
    return inspect.isclass(value) and issubclass(value, base) and value is not base


def _schedules() -> dict[str, type]:
    from ext_models import lr_schedulers

    base = torch.optim.lr_scheduler.LRScheduler
    places = (vars(torch.optim.lr_scheduler), vars(basicsr_schedules), vars(lr_schedulers))
    found = {n: v for place in places for n, v in place.items() if _is_a(v, base) and not n.startswith('_')}
    return found | {'MultiStepLR': basicsr_schedules.MultiStepRestartLR}


# ---------------------------------------------------------------------- sections with a type
def _kind(what: str, parts: dict[str, dict], is_open: bool = False) -> dict:
    names: dict = {'type': 'string', 'examples': list(parts)} if is_open else {'enum': list(parts)}
    return {
        'type': ['object', 'null'],
        'properties': {'type': {'description': f'The {what}.', **names}},
        'allOf': [_if_type(name, then) for name, then in parts.items()],
    }


def _whole(needs: dict[str, Collection[str]]) -> dict:
    conditions = [_if_type(name, {'required': sorted(keys)}) for name, keys in needs.items() if keys]
    return {'required': ['type'], **({'allOf': conditions} if conditions else {})}


def _if_type(name: str, then: dict) -> dict:
    return {'if': {'properties': {'type': {'const': name}}, 'required': ['type']}, 'then': then}


def _closed(properties: dict, text: str = '') -> dict:
    """The section of a class that refuses further keys."""
    common = {'type': {}, '_delete_': {'type': 'boolean'}}
    described = {'description': text} if text else {}
    return {**described, 'properties': {**common, **properties}, 'additionalProperties': False}


def called(target: Any, given: Collection[str] = (), more: dict | None = None) -> dict:
    """The section of a class or function that gets it as arguments."""
    parameters, takes_any = kinds.parameters_of(target)
    properties = {name: _argument(target, name) for name in parameters if name not in given}
    if takes_any:  # what it reads from there
        hidden: frozenset[str] = sources.option_keys(target, 'kwargs') if isinstance(target, type) else frozenset()
        properties |= {name: {} for name in sorted(hidden) if name not in properties}
    return _closed({**properties, **(more or {})}, docs.summary_of(target))


def _argument(target: Any, name: str) -> dict:
    entry, default = docs.entries_of(target).get(name), kinds.parameters_of(target)[0][name].default
    found: dict = {'description': entry.text} if entry else {}
    found |= kinds.described(target, name)
    shown = None if default is inspect.Parameter.empty else default
    if isinstance(shown, bool | int | float | str):
        found['default'] = shown
    return found


def _needed(target: Any) -> list[str]:
    parameters = kinds.parameters_of(target)[0]
    return [name for name, p in parameters.items() if p.default is inspect.Parameter.empty]


def _metric(target: Any) -> dict:
    return called(target, ('img', 'img2'), RUNNERS)


def _optimizer(target: Any) -> dict:
    rate = {'description': 'Learning rate.', 'type': 'number', 'minimum': 0, 'maximum': 1}
    return called(target, ('params',), {'lr': rate, 'lr_mult': _LR_MULT})


def _schedule(target: Any) -> dict:
    milestones = {'type': 'array', 'items': {'type': 'integer', 'minimum': 1}, 'uniqueItems': True}
    has = 'milestones' in kinds.parameters_of(target)[0]
    return called(target, ('optimizer',), {'milestones': milestones} if has else None)


# ---------------------------------------------------------------------- datasets
def _dataset(kind: type) -> dict:
    known = dataset_check.KEYS | sources.option_keys(kind, 'self.opt', 'opt')
    properties = {key: _dataset_key(kind, key) for key in sorted(known - words.INTERNAL - {'scale', 'type'})}
    backends = {'type': ['object', 'null'], 'properties': {'type': {'enum': sorted(FileClient._backends)}}}
    properties['io_backend'] = {**words.described('datasets', 'io_backend', {}), **backends}
    closed = _closed(properties, docs.summary_of(kind))
    if kind.__module__.startswith('basicsr.') and not issubclass(kind, PairedImageDataset | SingleImageDataset):
        del closed['additionalProperties']  # the check lets others take what they like
    return closed


def _dataset_key(kind: type, key: str) -> dict:
    entry = docs.entries_of(kind).get(key) if not kind.__module__.startswith('basicsr.') else None
    described = words.described('datasets', key, {})
    return {**described, 'description': entry.text} if entry else described


def dataset_needs(kind: type) -> set[str]:
    """The keys without which the check refuses a section in any phase."""
    needs = set().union(*(vars(base).get('NEEDS', ()) for base in kind.__mro__)) - {'gt_size'}
    if issubclass(kind, PairedImageDataset):
        needs |= {'dataroot_gt', 'dataroot_lq', 'io_backend'}
    return needs | {'name'}
