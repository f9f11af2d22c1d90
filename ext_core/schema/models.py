"""What depends on the model: the keys of ``train`` and of the file that it reads, and what it cannot be without."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from basicsr.utils.registry import MODEL_REGISTRY

from ext_core.check import components as component_check
from ext_core.check import docs, sections, sources
from ext_core.schema import components, words

_PLACES = ('train_opt', 'train', "self.opt['train']", "opt['train']", "self.opt.get('train')")
_PART = re.compile(r'\w+_opt|optim_[a-z]')
_NOT_OPTIONS = frozenset({'better'})  # of the metrics' sections


def _models() -> dict[str, type]:
    return {name.removesuffix('_basicsr'): m for name, m in sorted(MODEL_REGISTRY) if components.is_ours(m)}


@cache
def keys_of_train(model: type) -> frozenset[str]:
    extra = frozenset().union(*(vars(base).get('EXTRA_TRAIN_KEYS', ()) for base in model.__mro__))
    return sections.KEYS['train'] | extra | sources.option_keys(model, *_PLACES) | frozenset(_parts(model))


def _parts(model: type) -> Iterator[str]:
    """Losses and optimizers, which are also named by variables: ``self.build_loss('pixel_opt')``."""
    for file in sources.files_of(model):
        for node in ast.walk(ast.parse(Path(file).read_text(encoding='utf-8'))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _PART.fullmatch(node.value):
                yield node.value


def train_keys() -> frozenset[str]:
    """The keys of ``train`` that any model reads, but for losses, optimizers and the schedule."""
    every = frozenset().union(*(keys_of_train(model) for model in _models().values()))
    return frozenset(key for key in every if not key.endswith('_opt') and not key.startswith('optim_')) - {'scheduler'}


def train_texts() -> dict[str, dict]:
    """Descriptions of these keys, from the models' docstrings."""
    entries = [docs.entries_of(model) for model in _models().values()]
    return {name: {'description': entry.text} for found in entries for name, entry in found.items()}


def conditions() -> list[dict]:
    """If the model is this, then no other keys."""
    return [_if_model(name, _known(model)) for name, model in _models().items()]


def _if_model(name: str, then: dict) -> dict:
    return {'if': {'properties': {'model_type': {'const': name}}, 'required': ['model_type']}, 'then': then}


def _known(model: type) -> dict:
    own = sources.option_keys(model, 'self.opt', 'opt') | {'optim_g'}
    top = (sections.KEYS[''] | own | {'_base_'}) - words.INTERNAL - _NOT_OPTIONS - {'optim_g', 'network_g'}
    names = {'anyOf': [{'enum': sorted(top)}, {'pattern': '^network_'}]}
    keys = {'enum': sorted(keys_of_train(model) | {'_delete_'})}
    return {'propertyNames': names, 'properties': {'train': {'propertyNames': keys}}}


# ---------------------------------------------------------------------- files without _base_
def complete() -> list[dict]:
    """What a file must have that inherits nothing: the arguments of its components, and the parts of its model."""
    network, loss = (_where_given({'$ref': f'#/$defs/whole_{kind}'}) for kind in ('network', 'loss'))
    whole = {
        'patternProperties': {'^network_': network},
        'properties': {
            'train': {'patternProperties': {'_opt$': loss}},
            'datasets': {'additionalProperties': {'$ref': '#/$defs/whole_dataset'}},
        },
    }
    trains = {'properties': {'datasets': {'required': ['train']}}}
    needed = {
        'required': ['train', 'logger'],
        'properties': {
            'train': {'type': 'object', 'required': ['total_iter']},
            'logger': {'type': 'object', 'required': ['print_freq', 'save_checkpoint_freq']},
        },
    }
    parts = [_if_model(name, then) for name, model in _models().items() if (then := _needs(model))]
    return [whole, {'if': trains, 'then': {**needed, 'allOf': parts}}]


def _where_given(schema: dict) -> dict:
    """For sections that may be ~."""
    return {'if': {'type': 'object'}, 'then': schema}


def _needs(model: type) -> dict:
    needs = component_check.needs_of(model)
    top = sorted(path for path in needs if ':' not in path)
    train = sorted(path.removeprefix('train:') for path in needs if path.startswith('train:'))
    found = {'required': top} if top else {}
    return {**found, 'properties': {'train': {'required': train}}} if train else found
