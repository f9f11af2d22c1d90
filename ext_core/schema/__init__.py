"""A JSON Schema (draft 2020-12) of option files, for editors: completion, descriptions, and mistakes underlined.

Nothing is written twice: names come from BasicSR's registries, arguments from signatures, type hints and defaults,
descriptions from docstrings, keys and ranges from the tables and class attributes that the option check uses. The check
knows more (folders, weights, how parts fit together); what the schema refuses, the check refuses too.
"""

from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY

from ext_core.check import components as component_check
from ext_core.check import sections
from ext_core.check.nonfinite import Policy
from ext_core.schema import components, models, words

DRAFT = 'https://json-schema.org/draft/2020-12/schema'
NEEDED = ('name', 'model_type', 'num_gpu', 'datasets', 'network_g', 'path')


def option_schema() -> dict:
    """The schema of a whole option file, training or testing. One with ``_base_`` may lack what it inherits."""
    complete = {
        'if': {'not': {'required': ['_base_']}},
        'then': {'required': list(NEEDED), 'allOf': models.complete()},
    }
    return {
        '$schema': DRAFT,
        'title': 'BasicSR-Ext option file',
        'description': 'Written by scripts/export_schema.py from the code; do not edit.',
        'type': 'object',
        'properties': _top(),
        'patternProperties': {'^network_': {'$ref': '#/$defs/network'}},
        'allOf': [*models.conditions(), complete],
        '$defs': components.definitions(),
    }


def _top() -> dict:
    names = sorted(key.removesuffix('_basicsr') for key, value in MODEL_REGISTRY if components.is_ours(value))
    return {
        **{key: words.described('', key, {}) for key in sorted(sections.KEYS[''] - words.INTERNAL - {'network_g'})},
        '_base_': {
            'description': 'Option files that this one inherits, relative to it. Sections are merged key by key.',
            'anyOf': [{'type': 'string'}, {'type': 'array', 'items': {'type': 'string'}}],
        },
        'model_type': {'description': 'The training procedure.', 'enum': names},
        'num_gpu': {
            'description': 'GPUs: auto for all there are, 0 for the CPU.',
            'anyOf': [{'const': 'auto'}, sections.NUMBERS['num_gpu'].schema],
        },
        'name': {'description': 'Name of the experiment and its folder.', 'type': 'string', 'pattern': r'^[^/\\~]+$'},
        'datasets': _datasets(),
        'path': _path(),
        'train': _train(),
        'val': _section('val', {'metrics': {'type': ['object', 'null'], **_metrics()}}),
        'logger': _section('logger', {'wandb': {'type': ['object', 'null']}}),
    }


def _section(name: str, more: dict[str, Any]) -> dict:
    """A section of which the tables know all keys."""
    properties = {key: words.described(name, key, {}) for key in sorted(sections.KEYS[name] - words.INTERNAL)}
    return {'type': ['object', 'null'], 'properties': {**properties, '_delete_': {'type': 'boolean'}, **more}}


def _datasets() -> dict:
    reference = {'$ref': '#/$defs/dataset'}
    return {
        'description': 'Sections train, val, val_1, ... for training; test, test_1, ..., val for testing.',
        'type': 'object',
        'properties': {'_delete_': {'type': 'boolean'}},
        'patternProperties': {r'^(train|(val|test)(_.*)?)$': reference},
        'additionalProperties': False,
    }


def _metrics() -> dict:
    return {
        'description': 'Metrics by a name of your own.',
        'properties': {'_delete_': {'type': 'boolean'}},
        'additionalProperties': {'$ref': '#/$defs/metric'},
    }


def _train() -> dict:
    texts = models.train_texts()
    properties = {
        key: {**texts.get(key, {}), **words.described('train', key, {})} for key in sorted(models.train_keys())
    }
    special: dict[str, dict] = {
        'amp': {'enum': [*component_check.AMP, None]},
        'compile': {'type': ['boolean', 'object', 'null']},
        'grad_clip': {'type': ['object', 'null'], 'properties': {'type': {'enum': list(component_check.CLIPPING)}}},
        'nonfinite': {'type': ['object', 'null'], **components.called(Policy)},
    }
    for key, kind in special.items():
        properties[key] = {**kind, **properties[key]}
    return {
        'type': ['object', 'null'],
        'properties': {**properties, '_delete_': {'type': 'boolean'}, 'scheduler': {'$ref': '#/$defs/scheduler'}},
        'patternProperties': {'_opt$': {'$ref': '#/$defs/loss'}, '^optim_': {'$ref': '#/$defs/optimizer'}},
    }


def _path() -> dict:
    suffix = '(_[a-z0-9]+)+$'
    result = _section('path', {})
    result['patternProperties'] = {
        f'^pretrain_network{suffix}': {'description': 'Weights to begin with.', 'type': ['string', 'null']},
        f'^param_key{suffix}': {'description': 'Key of the weights in that file.', 'type': ['string', 'null']},
        '^strict_load(_[a-z0-9]+)*_except$': {
            'description': 'Layers that keep their initial weights.',
            'type': ['array', 'null'],
            'items': {'type': 'string'},
        },
        '^strict_load_[a-z0-9]+$': {'description': 'Refuse weights that do not fit.', 'type': ['boolean', 'null']},
    }
    return result
