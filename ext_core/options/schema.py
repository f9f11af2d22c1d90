"""A JSON Schema (draft 2020-12) of option files, for editors: completion, descriptions, and mistakes underlined.

It says what the declarations and signatures say. The check knows more (folders, weights, how parts fit together); what
the schema refuses, the check refuses too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from basicsr.utils.file_client import FileClient
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ext_arch.spandrel_networks import NETWORKS
from ext_core.options import declared
from ext_core.options.keys import METRIC_GIVEN, schedules
from ext_core.options.problems import LAUNCHER_DATASETS
from ext_core.options.signatures import Parameter, parameters_of, summary_of
from ext_losses.pyiqa_loss import PyIQALoss
from ext_metrics.pyiqa_metric import pyiqa_metric
from ext_models.batch_augmentation import BatchAugmentation
from ext_models.degradations import DEGRADATION_REGISTRY
from ext_models.degrader import Degrader

DELETE: dict[str, dict] = {'_delete_': {'type': 'boolean'}}
_OURS = ('basicsr', 'ext_arch', 'ext_losses', 'ext_data', 'ext_metrics', 'ext_models')
_LR_MULT = {
    'description': 'Factors on the learning rate by layer.',
    'type': ['object', 'null'],
    'additionalProperties': {'type': 'number', 'minimum': 0},
}
_NUMBER = {'type': 'number', 'minimum': 0, 'maximum': 1, 'description': 'Learning rate.'}
_MILESTONES = {'type': 'array', 'items': {'type': 'integer', 'minimum': 1}, 'uniqueItems': True}


def registered(registry: Any) -> dict[str, Any]:
    """What BasicSR and this project register, so that the schema does not depend on what else is loaded."""
    ours = ((name, value) for name, value in sorted(registry) if value.__module__.partition('.')[0] in _OURS)
    return {name.removesuffix('_basicsr'): value for name, value in ours}


def option_schema() -> dict:
    """The schema of a whole option file, training or testing. One with ``_base_`` may lack what it inherits."""
    models = registered(MODEL_REGISTRY)
    every = {name: declared.model_keys(model) for name, model in models.items()}
    merged: dict[str, dict[str, Parameter]] = {}
    for sections in every.values():
        for name, keys in sections.items():
            merged.setdefault(name, {}).update({key: p for key, p in keys.items() if key not in merged.get(name, {})})
    train = _section(merged['train'])
    for key in train['properties']:
        if key.endswith('_opt'):
            train['properties'][key] |= {'$ref': '#/$defs/loss'}
        elif key.startswith('optim_'):
            train['properties'][key] |= {'$ref': '#/$defs/optimizer'}
    train['properties']['losses']['additionalProperties'] = {'$ref': '#/$defs/loss'}
    train['properties']['scheduler'] |= {'$ref': '#/$defs/scheduler'}
    train['properties']['augment'] |= _called(BatchAugmentation)
    train['properties']['nonfinite'] |= _called(declared.NonFinite)
    val, logger = _section(merged['val']), _section(merged['logger'])
    val['properties']['metrics'] |= {
        'anyOf': [{'type': 'object'}, {'type': 'null'}],
        'properties': DELETE,
        'additionalProperties': {'$ref': '#/$defs/metric'},
    }
    logger['properties']['wandb'] |= _called(declared.Wandb)
    datasets = {
        'properties': DELETE,
        'patternProperties': {r'^(train|(val|test)(_.*)?)$': {'$ref': '#/$defs/dataset'}},
        'additionalProperties': False,
    }
    top = {key: _property(parameter) for key, parameter in merged[''].items()}
    for key in top:
        if key.startswith('network_'):
            top[key] |= {'$ref': '#/$defs/network'}
    top['degrade'] |= {'$ref': '#/$defs/degradation'}
    top['model_type'] = {'description': 'The training procedure.', 'enum': list(models)}
    top['datasets'] |= datasets
    top |= {'train': top['train'] | train, 'val': top['val'] | val, 'logger': top['logger'] | logger}
    top['path'] |= _section(merged['path'])
    top['dist_params'] |= _called(declared.DistParams)
    top['custom_imports'] |= _called(declared.CustomImports)
    top['_base_'] = {
        'description': 'Option files that this one inherits, relative to it. Sections are merged key by key.',
        'anyOf': [{'type': 'string'}, {'type': 'array', 'items': {'type': 'string'}}],
    }
    losses, networks, kinds = registered(LOSS_REGISTRY), registered(ARCH_REGISTRY), registered(DATASET_REGISTRY)
    optimizers = {n: v for n, v in sorted(vars(torch.optim).items()) if isinstance(v, type) and n != 'Optimizer'}
    plans = schedules(models['ExtSRModel'])
    needed = [key for key, parameter in parameters_of(declared.File).items() if parameter.needed]
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'title': 'BasicSR-Ext option file',
        'description': 'Written by scripts/export_schema.py from the code; do not edit.',
        'type': 'object',
        'properties': top,
        'allOf': [
            *(_if('model_type', name, _allowed(sections, merged)) for name, sections in every.items()),
            {
                'if': {'not': {'required': ['_base_']}},
                'then': {'required': needed, 'allOf': [_whole(), *_needs(every)]},
            },
        ],
        '$defs': {
            'network': _networks(networks),
            'loss': _or_pyiqa(_kind('loss', {name: _called(v) for name, v in losses.items()}), _called(PyIQALoss)),
            'degradation': _degradations(networks),
            'dataset': _kind('dataset', {name: _dataset(value) for name, value in kinds.items()}),
            'metric': _or_pyiqa(
                _kind('metric', {name: _metric(value) for name, value in registered(METRIC_REGISTRY).items()}),
                _metric(pyiqa_metric, 'name'),
            ),
            'optimizer': _kind('optimizer', {name: _optimizer(value) for name, value in optimizers.items()}, True),
            'scheduler': _kind('schedule', {name: _schedule(value) for name, value in sorted(plans.items())}),
            'whole_network': _complete({name: parameters_of(value) for name, value in networks.items()}),
            'whole_loss': _complete({name: parameters_of(value) for name, value in losses.items()}),
            'whole_dataset': _complete({name: declared.dataset_keys(value, False)[0] for name, value in kinds.items()}),
        },
    }


def _property(parameter: Parameter) -> dict:
    found: dict[str, Any] = {'description': parameter.text} if parameter.text else {}
    found |= parameter.schema
    if isinstance(parameter.default, bool | int | float | str):
        found['default'] = parameter.default
    return found


def _section(keys: Mapping[str, Parameter]) -> dict:
    return {'properties': {**{key: _property(parameter) for key, parameter in keys.items()}, **DELETE}}


def _closed(keys: Mapping[str, dict], text: str = '') -> dict:
    described = {'description': text} if text else {}
    return {**described, 'properties': {'type': {}, **DELETE, **keys}, 'additionalProperties': False}


def _called(target: Callable, given: tuple = (), more: dict | None = None) -> dict:
    """The section of a class or function that gets it as arguments."""
    keys = {name: _property(parameter) for name, parameter in parameters_of(target).items() if name not in given}
    return _closed({**keys, **(more or {})}, summary_of(target))


def _metric(target: Callable, *given: str) -> dict:
    runners = {key: _property(parameter) for key, parameter in parameters_of(declared.Metric).items()}
    return _called(target, (*METRIC_GIVEN, *given), runners)


def _or_pyiqa(found: dict, then: dict) -> dict:
    """Also the names of pyiqa, about which the check says the rest."""
    theirs = {'type': 'string', 'pattern': r'^pyiqa\.'}
    said, names = (found['properties']['type'].pop(key) for key in ('description', 'enum'))
    found['properties']['type'] = {'description': said, 'anyOf': [{'enum': names}, theirs]}
    found['allOf'].append({'if': {'properties': {'type': theirs}, 'required': ['type']}, 'then': then})
    return found


def _networks(networks: Mapping[str, Callable]) -> dict:
    """Those of BasicSR and ours with their arguments; spandrel's by name, about which the check says the rest."""
    found = _kind('network', {name: _called(value) for name, value in networks.items()})
    found['properties']['type']['enum'] += NETWORKS
    return found


def _degradations(networks: Mapping[str, Callable]) -> dict:
    """A degradation with the degrader's keys, or a network, about which the check says the rest."""
    more = {key: _property(parameter) for key, parameter in parameters_of(Degrader.Options).items()}
    own = {name: _called(value, ('scale',), more) for name, value in registered(DEGRADATION_REGISTRY).items()}
    found = _kind('degradation', own)
    found['properties']['type']['enum'] += networks
    return found


def _optimizer(target: Callable) -> dict:
    return _called(target, ('params',), {'lr': _NUMBER, 'lr_mult': _LR_MULT})


def _schedule(target: Callable) -> dict:
    more = {'milestones': _MILESTONES} if 'milestones' in parameters_of(target) else None
    return _called(target, ('optimizer',), more)


def _dataset(kind: type) -> dict:
    known, _ = declared.dataset_keys(kind, True)
    unread = {} if kind.__module__.startswith('basicsr.') else {'enum': [None, '{}']}
    known = {**{key: Parameter(unread, None, '') for key in sorted(declared.UNREAD_IN_DATASETS)}, **known}
    keys = {key: _property(parameter) for key, parameter in known.items() if key not in LAUNCHER_DATASETS}
    if 'io_backend' in keys:
        keys['io_backend'] |= {'properties': {'type': {'enum': sorted(FileClient._backends)}}}
    closed = _closed({**keys, 'use_shuffle': {}}, summary_of(kind))
    if declared.is_open(kind):
        del closed['additionalProperties']
    return closed


# ---------------------------------------------------------------------- conditions
def _if(key: str, value: str, then: dict) -> dict:
    return {'if': {'properties': {key: {'const': value}}, 'required': [key]}, 'then': then}


def _kind(what: str, parts: Mapping[str, dict], is_open: bool = False) -> dict:
    """A section with a type: if the type is this, then its keys are these."""
    names: dict = {'type': 'string', 'examples': list(parts)} if is_open else {'enum': list(parts)}
    return {
        'type': ['object', 'null'],
        'properties': {'type': {'description': f'The {what}.', **names}},
        'allOf': [_if('type', name, then) for name, then in parts.items()],
    }


def _complete(parts: Mapping[str, Mapping[str, Parameter]]) -> dict:
    """What a section with a type cannot be without."""
    needs = {
        name: sorted(key for key, p in keys.items() if p.needed and key != 'scale') for name, keys in parts.items()
    }
    return {
        'required': ['type'],
        'allOf': [_if('type', name, {'required': keys}) for name, keys in needs.items() if keys],
    }


def _allowed(sections: Mapping[str, Mapping[str, Parameter]], merged: Mapping[str, Mapping[str, Parameter]]) -> dict:
    """The keys of a model's file; those of other models may be ~."""

    def keys_of(name: str) -> dict:
        others = {key: {'type': 'null'} for key in sorted(merged[name].keys() - sections[name].keys())}
        names = sorted({*merged[name], *DELETE, *(['_base_'] if not name else [])})
        return {'propertyNames': {'enum': names}, 'properties': others}

    top = keys_of('')
    top['properties'] |= {name: keys_of(name) for name in ('train', 'val', 'logger', 'path')}
    return top


def _whole() -> dict:
    """Complete networks, losses and datasets; sections may be ~."""

    def where_given(name: str) -> dict:
        return {'if': {'type': 'object'}, 'then': {'$ref': f'#/$defs/whole_{name}'}}

    return {
        'patternProperties': {'^network_': where_given('network')},
        'properties': {
            'train': {'patternProperties': {'_opt$': where_given('loss')}},
            'datasets': {'additionalProperties': {'$ref': '#/$defs/whole_dataset'}},
        },
    }


def _needs(every: Mapping[str, Mapping[str, Mapping[str, Parameter]]]) -> list[dict]:
    """In a training: the keys without which the model cannot be trained."""
    found = []
    for name, sections in every.items():
        needs = {part: sorted(k for k, p in keys.items() if p.needed) for part, keys in sections.items()}
        inner = {part: {'type': 'object', 'required': needs[part]} for part in ('train', 'logger')}
        then = {'required': [*needs[''], 'train', 'logger'], 'properties': inner}
        trains = {'properties': {'datasets': {'required': ['train']}, 'model_type': {'const': name}}}
        found.append({'if': trains, 'then': then})
    return found
