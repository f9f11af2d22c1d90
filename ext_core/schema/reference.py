"""The option reference in docs/: the same facts as the schema for editors, as pages.

Names come from the registries, arguments from signatures, kinds and ranges from the option check, meanings from
docstrings and :mod:`ext_core.schema.words`, defaults of keys from the code that reads them.
"""

from collections.abc import Collection, Iterator
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ext_core.check import components as component_check
from ext_core.check import datasets as dataset_check
from ext_core.check import docs, sections, sources
from ext_core.check.nonfinite import Policy
from ext_core.schema import NEEDED, components, models, option_schema, words
from ext_core.schema.tables import Row, argument_rows, file_of, kind_of, prose, section_row, signature_of, table

_WRITTEN = 'Written by `python scripts/export_reference.py` from the code; do not edit.'
_KINDS = {
    'Networks': (ARCH_REGISTRY, ()),
    'Losses and views': (LOSS_REGISTRY, ()),
    'Datasets': (DATASET_REGISTRY, ()),
    'Metrics': (METRIC_REGISTRY, ('img', 'img2', 'kwargs')),
}
_USES = {
    'Networks': '`network_g`, `network_d` and further `network_*` sections, by `type`.',
    'Losses and views': 'Sections of `train` whose keys end in `_opt`, by `type`.',
    'Datasets': 'Sections of `datasets`, by `type`. Keys that all datasets have in common are in '
    '[datasets](reference.md#datasets).',
    'Metrics': 'Sections of `val:metrics`, by `type`; [val](reference.md#val) says what else stands there.',
}


_NEEDED = {*NEEDED, 'train:total_iter', 'logger:print_freq', 'logger:save_checkpoint_freq'}
_ORDER = ('_base_', 'name', 'model_type', 'scale', 'num_gpu', 'manual_seed', 'datasets', 'network_g', 'network_d',
          'path', 'train', 'val', 'logger')  # fmt: skip


def pages() -> dict[str, str]:
    """File name to content."""
    return {
        'reference.md': '\n'.join(_options()),
        'reference_components.md': '\n'.join(_components()),
        'reference_basicsr.md': '\n'.join(_basicsr()),
    }


# ---------------------------------------------------------------------- reference.md
def _options() -> Iterator[str]:
    schema = {**option_schema()['properties'], 'network_g': {}}
    schema['model_type'] = {'description': 'The training procedure: one of [these](#models).'}
    top = sorted(schema, key=lambda key: (*_ORDER, key).index(key))
    yield f'# Option files\n\n{_WRITTEN}\n'
    yield (
        'What a key takes, what holds where it is absent, and what it means. `~` is YAML for nothing. '
        '[Training](training.md#option-files) says how files inherit from each other; `_delete_: true` in a section '
        'drops what it would inherit. Classes that are named by `type` have pages of their own: '
        "[ours](reference_components.md), [BasicSR's](reference_basicsr.md).\n"
    )
    yield '## Top level\n'
    yield table('key', _section_rows('', {key: schema[key] for key in top}))
    yield '## datasets\n'
    yield (
        'Sections `train`, `val`, `val_1`, ... in a training; `test`, `test_1`, ... or `val` in a test. These keys are '
        "those of all loaders and of BasicSR's `PairedImageDataset` and `SingleImageDataset`; "
        '[our datasets](reference_components.md#datasets) have some of their own. For training `PairedImageDataset` '
        'needs `gt_size`, `use_hflip` and `use_rot`.\n'
    )
    keys = dataset_check.KEYS - words.INTERNAL - {'scale'}
    yield table('key', [section_row('datasets', key, {}) for key in sorted(keys)])
    yield '## path\n'
    yield table('key', _path_rows(schema['path']))
    yield '## train\n'
    yield from _train(schema['train']['properties'])
    yield '## val\n'
    yield table('key', _section_rows('val', schema['val']['properties']))
    yield 'Each section of `metrics` has a `type`, arguments of [that metric](reference_components.md#metrics), and\n'
    yield table('key', [Row(key, *_described(value)) for key, value in components.RUNNERS.items()])
    yield '## logger\n'
    yield table('key', _section_rows('logger', schema['logger']['properties']))


def _section_rows(name: str, properties: dict[str, dict], owner: Any = None) -> list[Row]:
    rows = [section_row(name, key, value, owner) for key, value in properties.items() if key != '_delete_']
    paths = {row.key: f'{name}:{row.key}'.strip(':') for row in rows}
    return [row._replace(default='needed') if paths[row.key] in _NEEDED else row for row in rows]


def _described(schema: dict) -> tuple[str, str, str]:
    return kind_of(schema), '', prose(schema.get('description', ''))


def _path_rows(schema: dict) -> list[Row]:
    """The keys with a suffix stand once, for the network ``g`` and all others."""
    patterns = {
        'pretrain_network_g': '^pretrain_network',
        'param_key_g': '^param_key',
        'strict_load_g': '^strict_load_[',
        'strict_load_g_except': '^strict_load(_',
    }
    rows = [row for row in _section_rows('path', schema['properties']) if row.key not in patterns]
    for key, start in patterns.items():
        (value,) = (value for pattern, value in schema['patternProperties'].items() if pattern.startswith(start))
        row = section_row('path', key, value)
        rows.append(row._replace(text=f'{row.text} `_g` stands for any network: `{key.replace("_g", "_d", 1)}`.'))
    return rows


def _train(properties: dict[str, dict]) -> Iterator[str]:
    ours = dict(sorted(_registered(MODEL_REGISTRY, True).items(), key=lambda item: len(item[1].__mro__)))
    base = ours['ExtSRModel']
    common = sections.KEYS['train'] - {'net_d_iters', 'net_d_init_iters'} | {'perceptual_opt', *docs.entries_of(base)}
    known = {key: properties.get(key, {}) for key in sorted(common)}
    yield 'Of every model of this plugin:\n'
    yield table('key', _section_rows('train', known, base))
    yield '### nonfinite\n\n' + prose(docs.summary_of(Policy)) + '\n'
    yield table('key', argument_rows(Policy, ()))
    yield '### Optimizers and schedules\n'
    yield (
        '`optim_*`: `type` is any class of `torch.optim`, or of the package `pytorch_optimizer` where it is installed; '
        "its arguments are that class's, and `lr_mult`: factors on the learning rate by layer. `scheduler`: `type` is "
        "one of `torch.optim.lr_scheduler`, BasicSR's `MultiStepRestartLR` (also as `MultiStepLR`) and "
        '`CosineAnnealingRestartLR`, or:\n'
    )
    from ext_models.lr_schedulers import LinearDecayLR

    yield _entry('LinearDecayLR', LinearDecayLR, ('optimizer', 'last_epoch'), '####')
    yield '### Models\n'
    yield '`model_type` names one. Those that build on another take its keys too.\n'
    for name, model in ours.items():
        yield _model(name, model, properties)


def _model(name: str, model: type, properties: dict[str, dict]) -> str:
    own = docs.entries_of(model).keys() - _inherited(model)
    own |= frozenset(vars(model).get('EXTRA_TRAIN_KEYS', ())) & properties.keys()
    rows = [section_row('train', key, properties.get(key, {}), model) for key in sorted(own)]
    base = model.__mro__[1].__name__
    needs = ', '.join(f'`{path}`' for path in sorted(component_check.needs_of(model)))
    text = [
        f'#### {name}\n',
        prose(docs.summary_of(model)) + '\n',
        f'{file_of(model)}; builds on `{base}`. Needs {needs}.\n',
    ]
    return '\n'.join([*text, *([table('key', rows)] if rows and base != 'SRModel' else [])])


def _inherited(model: type) -> Collection[str]:
    return frozenset().union(*(docs.entries_of(base).keys() for base in model.__mro__[1:-1]))


# ---------------------------------------------------------------------- reference_components.md
def _registered(registry: Any, ours: bool) -> dict[str, Any]:
    found = {name.removesuffix('_basicsr'): value for name, value in sorted(registry) if components.is_ours(value)}
    return {name: value for name, value in found.items() if value.__module__.startswith('ext_') == ours}


def _components() -> Iterator[str]:
    yield f'# Components\n\n{_WRITTEN}\n'
    yield (
        "What this plugin adds to BasicSR's registries, with its arguments in an option file. The classes' docstrings "
        'say more: shapes, ranges, errors, sources. [Your own](extending.md) appear here once this page is '
        'written anew.\n'
    )
    for title, (registry, given) in _KINDS.items():
        yield f'## {title}\n\n{_USES[title]}\n'
        for name, value in _registered(registry, True).items():
            yield _dataset(name, value) if title == 'Datasets' else _entry(name, value, given)


def _entry(name: str, target: Any, given: Collection[str], level: str = '###') -> str:
    rows = argument_rows(target, given)
    text = [f'{level} {name}\n', prose(docs.summary_of(target)) + '\n', f'{file_of(target)}\n']
    return '\n'.join([*text, *([table('argument', rows)] if rows else [])])


def _dataset(name: str, target: type) -> str:
    """The keys that its docstring describes; the others are those of all datasets."""
    read = sources.option_keys(target, 'self.opt', 'opt') | set(components.dataset_needs(target))
    keys = [
        key
        for key in docs.entries_of(target)
        if key in read | dataset_check.KEYS and key not in words.INTERNAL | {'scale'}
    ]
    rows = [section_row('datasets', key, {}, target) for key in keys]
    needs = ', '.join(f'`{key}`' for key in sorted(components.dataset_needs(target)))
    text = [f'### {name}\n', prose(docs.summary_of(target)) + '\n', f'{file_of(target)}. Needs {needs}.\n']
    return '\n'.join([*text, table('key', rows)])


# ---------------------------------------------------------------------- reference_basicsr.md
def _basicsr() -> Iterator[str]:
    yield f'# Components of BasicSR\n\n{_WRITTEN}\n'
    yield (
        'What the tested version of BasicSR registers, with its signatures. All of it can be named in option files; '
        '[compatibility.md](compatibility.md) says what this plugin mends in it. What the arguments mean is in the '
        'docstrings of the installed package.\n'
    )
    for title, (registry, given) in {**_KINDS, 'Models': (MODEL_REGISTRY, ('opt',))}.items():
        yield f'## {title}\n'
        for name, value in _registered(registry, False).items():
            if title == 'Models':
                yield _listed(name, 'further keys of `train`', models.keys_of_train(value) - sections.KEYS['train'])
            elif title == 'Datasets':
                keys = sources.option_keys(value, 'self.opt', 'opt') - dataset_check.KEYS
                yield _listed(name, 'keys beside those of [all datasets](reference.md#datasets)', keys)
            else:
                yield f'- `{signature_of(name, value, given)}`'
        yield ''


def _listed(name: str, what: str, keys: Collection[str]) -> str:
    return f'- `{name}`; {what}: {", ".join(f"`{key}`" for key in sorted(keys))}' if keys else f'- `{name}`'
