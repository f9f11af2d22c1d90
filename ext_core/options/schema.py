"""A JSON Schema (draft 2020-12) of option files, for editors: completion, descriptions, and mistakes underlined.

It says what the declarations and signatures say. The check knows more (missing arguments, folders, weights, how parts
fit together); what the schema refuses, the check refuses too.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from basicsr.utils.file_client import FileClient
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ext_arch.spandrel_networks import NETWORKS
from ext_core.options import declared
from ext_core.options.keys import (
    degradation_keys,
    metric_keys,
    optimizer_keys,
    plain_sections,
    schedule_keys,
    schedules,
)
from ext_core.options.problems import LAUNCHER_DATASETS
from ext_core.options.signatures import ANYTHING, Parameter, parameters_of, summary_of
from ext_losses.pyiqa_loss import PyIQALoss
from ext_metrics.pyiqa_metric import pyiqa_metric
from ext_models.degradations import DEGRADATION_REGISTRY

DELETE: dict[str, dict] = {'_delete_': {'type': 'boolean'}}
OF_MODELS = ('', 'train', 'val', 'logger', 'path')  # sections whose keys depend on the model
NONE = {'type': 'null'}  # of keys that a section does not read: ~ takes out what the file of another model has
_OURS = ('basicsr', 'ext_arch', 'ext_losses', 'ext_data', 'ext_metrics', 'ext_models')


def registered(registry: Any) -> dict[str, Any]:
    """What BasicSR and this project register, so that the schema does not depend on what else is loaded."""
    ours = ((name, value) for name, value in sorted(registry) if value.__module__.partition('.')[0] in _OURS)
    return {name.removesuffix('_basicsr'): value for name, value in ours}


def option_schema() -> dict:
    """The schema of a whole option file, training or testing. One with ``_base_`` may lack what it inherits."""
    models = registered(MODEL_REGISTRY)
    every = {name: plain_sections(model) for name, model in models.items()}
    merged: dict[str, dict[str, Parameter]] = {}
    for sections in every.values():
        for name, keys in sections.items():
            before = merged.get(name, {})
            merged[name] = {**before, **keys, **before}
    whole: dict[str, Any] = {}
    del merged['train:compile']  # torch's, which say other things in each release
    for name, keys in merged.items():
        place = whole
        for key in name.split(':') if name else ():
            place = place['properties'][key]
        place |= _read(keys, True if name in OF_MODELS else NONE)
    top = whole['properties']
    train = top['train']['properties']
    for key in top:
        top[key] |= {'$ref': '#/$defs/network'} if key.startswith('network_') else {}
    for key in train:
        kind = 'loss' if key.endswith('_opt') else 'optimizer' if key.startswith('optim_') else None
        train[key] |= {'$ref': f'#/$defs/{kind}'} if kind else {}
    train['losses']['additionalProperties'] = {'$ref': '#/$defs/loss'}
    train['scheduler'] |= {'$ref': '#/$defs/scheduler'}
    top['val']['properties']['metrics'] |= {
        'anyOf': [{'type': 'object'}, {'type': 'null'}],
        'properties': DELETE,
        'additionalProperties': {'$ref': '#/$defs/metric'},
    }
    top['degrade'] |= {'$ref': '#/$defs/degradation'}
    top['model_type'] = {'description': 'The training procedure.', 'enum': list(models)}
    top['datasets'] |= {
        'properties': DELETE,
        'patternProperties': {r'^(train|(val|test)(_.*)?)$': {'$ref': '#/$defs/dataset'}},
        'additionalProperties': False,
    }
    top['_base_'] = {
        'description': 'Option files that this one inherits, relative to it. Sections are merged key by key.',
        'anyOf': [{'type': 'string'}, {'type': 'array', 'items': {'type': 'string'}}],
    }
    networks = registered(ARCH_REGISTRY)
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
                'then': {'required': needed, 'allOf': _needs(every)},
            },
        ],
        '$defs': {
            # of spandrel's networks, of networks as degradations and of pyiqa's metrics the check says the rest
            'network': _kind('network', networks, also=NETWORKS),
            'degradation': _kind('degradation', registered(DEGRADATION_REGISTRY), degradation_keys, also=networks),
            'loss': _or_pyiqa(_kind('loss', registered(LOSS_REGISTRY)), _called(PyIQALoss)),
            'metric': _or_pyiqa(
                _kind('metric', registered(METRIC_REGISTRY), metric_keys),
                _called(pyiqa_metric, lambda target: {k: p for k, p in metric_keys(target).items() if k != 'name'}),
            ),
            'dataset': _kind('dataset', registered(DATASET_REGISTRY), _dataset_keys),
            'optimizer': _kind('optimizer', optimizers, optimizer_keys),
            'scheduler': _kind('schedule', dict(sorted(plans.items())), schedule_keys),
        },
    }


def _property(parameter: Parameter) -> dict:
    found: dict[str, Any] = {'description': parameter.text} if parameter.text else {}
    found |= parameter.schema
    if isinstance(parameter.default, bool | int | float | str):
        found['default'] = parameter.default
    return found


def _read(keys: Mapping[str, Parameter], others: bool | dict = True) -> dict:
    """A section of these keys."""
    properties = {**{key: _property(parameter) for key, parameter in keys.items()}, **DELETE}
    return {'properties': properties, **({} if others is True else {'additionalProperties': others})}


def _called(target: Callable, keys_of: Callable = parameters_of, others: bool | dict = False) -> dict:
    """The section of a class or function that gets it as arguments."""
    said = {'description': summary_of(target)} if summary_of(target) else {}
    return said | _read({'type': ANYTHING, **keys_of(target)}, others)


def _or_pyiqa(found: dict, then: dict) -> dict:
    """Also the names of pyiqa."""
    theirs = {'type': 'string', 'pattern': r'^pyiqa\.'}
    said, names = (found['properties']['type'].pop(key) for key in ('description', 'enum'))
    found['properties']['type'] = {'description': said, 'anyOf': [{'enum': names}, theirs]}
    found['allOf'].append({'if': {'properties': {'type': theirs}, 'required': ['type']}, 'then': then})
    return found


def _dataset_keys(kind: type) -> dict[str, Parameter]:
    known, _ = declared.dataset_keys(kind, True)
    if 'io_backend' in known:
        backends = {'properties': {'type': {'enum': sorted(FileClient._backends)}}}
        known['io_backend'] = known['io_backend']._replace(schema=known['io_backend'].schema | backends)
    unread = {} if kind.__module__.startswith('basicsr.') else {'enum': [None, '{}']}
    known = {**{key: Parameter(unread, None, '') for key in sorted(declared.UNREAD_IN_DATASETS)}, **known}
    return {key: p for key, p in known.items() if key not in LAUNCHER_DATASETS} | {'use_shuffle': ANYTHING}


# ---------------------------------------------------------------------- conditions
def _if(key: str, value: str, then: dict) -> dict:
    return {'if': {'properties': {key: {'const': value}}, 'required': [key]}, 'then': then}


def _kind(what: str, parts: Mapping[str, Any], keys_of: Callable = parameters_of, also: Iterable = ()) -> dict:
    """A section with a type: if the type is this, then its keys are these."""
    names: dict = {'enum': [*parts, *also]}
    if what == 'optimizer':  # a package may have others
        names = {'type': 'string', 'examples': list(parts)}
    others = {name: declared.is_open(kind) or NONE for name, kind in parts.items()} if what == 'dataset' else {}
    then = {name: _called(target, keys_of, others.get(name, False)) for name, target in parts.items()}
    return {
        'type': ['object', 'null'],
        'properties': {'type': {'description': f'The {what}.', **names}},
        'allOf': [_if('type', name, part) for name, part in then.items()],
    }


def _allowed(sections: Mapping[str, Mapping[str, Parameter]], merged: Mapping[str, Mapping[str, Parameter]]) -> dict:
    """The keys of a model's file; others may be ~, and those of other models are known."""

    def keys_of(name: str) -> dict:
        own = {*sections[name], *DELETE, *(['_base_'] if not name else [])}
        known = {key: {} if key in own else NONE for key in sorted({*merged[name], *own})}
        return {'properties': known, 'additionalProperties': NONE}

    top = keys_of('')
    top['properties'] |= {name: keys_of(name) for name in OF_MODELS if name}
    return top


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
