"""The option reference in docs/: the same facts as the schema for editors, as pages."""

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from torch.utils.data import Dataset

from ext_core.options import declared
from ext_core.options.keys import METRIC_GIVEN
from ext_core.options.problems import LAUNCHER_DATASETS
from ext_core.options.schema import registered
from ext_core.options.signatures import NEEDED, Parameter, parameters_of, summary_of, words
from ext_losses.pyiqa_loss import PyIQALoss
from ext_metrics.pyiqa_metric import pyiqa_metric
from ext_models.batch_augmentation import BatchAugmentation
from ext_models.degradations import DEGRADATION_REGISTRY
from ext_models.degrader import Degrader

_WRITTEN = 'Written by `python scripts/export_reference.py` from the code; do not edit.'
_GIVEN = {'Degradations': ('scale',), 'Metrics': METRIC_GIVEN}  # arguments that no option file gives
_USES = {
    'Networks': (
        ARCH_REGISTRY,
        '`network_g`, `network_d` and further `network_*` sections, by `type`. [networks.md](networks.md) lists those '
        'of spandrel.',
    ),
    'Losses and views': (
        LOSS_REGISTRY,
        'Sections of `train` whose keys end in `_opt`, and of `train:losses`, by `type`.',
    ),
    'Degradations': (
        DEGRADATION_REGISTRY,
        'The section `degrade`, by `type`; [degrade](reference.md#degrade) says what else stands there.',
    ),
    'Datasets': (
        DATASET_REGISTRY,
        'Sections of `datasets`, by `type`. Keys that all datasets have in common are in '
        '[datasets](reference.md#datasets).',
    ),
    'Metrics': (
        METRIC_REGISTRY,
        'Sections of `val:metrics`, by `type`; [val](reference.md#val) says what else stands there.',
    ),
}
FORMS = ('FileOptions', 'TrainOptions')  # of a model
_SAID_DEFAULT = re.compile(r"\s*Default: ((?:'[^']*'|[^.]|\.(?=\d))*)\.(?=\s|$)")


def pages() -> dict[str, str]:
    """File name to content."""
    return {
        'reference.md': '\n'.join(_options()),
        'reference_components.md': '\n'.join(_components()),
        'reference_basicsr.md': '\n'.join(_basicsr()),
    }


def _options() -> Iterator[str]:
    ours = [model for model in registered(MODEL_REGISTRY).values() if model.__module__.startswith('ext_')]
    ours.sort(key=lambda model: len(model.__mro__))
    base = declared.model_keys(ours[0])
    yield f'# Option files\n\n{_WRITTEN}\n'
    yield (
        '`key: value` shows the default; `~` is YAML for nothing. What a key takes stands in brackets, unless the '
        'default shows it. A key that nobody reads, or in the wrong section, is refused. '
        '[Training](training.md#option-files) says how files inherit from each other. Classes that are named by '
        "`type` have pages of their own: [ours](reference_components.md), [BasicSR's](reference_basicsr.md).\n"
    )
    yield '## Top level\n'
    inherits = Parameter(
        {'anyOf': [{'type': 'string'}, {'type': 'array', 'items': {'type': 'string'}}]},
        None,
        'Option files that this one inherits, relative to it. Sections are merged key by key.',
    )
    model = Parameter({}, NEEDED, 'The training procedure: one of [these](#models).')
    yield entries({'_base_': inherits, **base[''], 'model_type': model})
    yield '### degrade\n'
    yield 'A `type`, arguments of [that degradation](reference_components.md#degradations), and\n'
    yield entries(parameters_of(Degrader.Options))
    yield '## datasets\n'
    yield (
        'Sections `train`, `val`, `val_1`, ... in a training; `test`, `test_1`, ... or `val` in a test. Of every '
        'dataset:\n'
    )
    yield entries(parameters_of(declared.Dataset))
    yield 'Of `datasets:train`:\n'
    yield entries(parameters_of(declared.TrainDataset))
    yield (
        "Of BasicSR's `PairedImageDataset`; `SingleImageDataset` has those without ground truth. "
        '[Our datasets](reference_components.md#datasets) say what they read.\n'
    )
    paired = {**parameters_of(declared.PairedKeys), **parameters_of(declared.PairedTrainKeys)}
    yield entries({key: parameter for key, parameter in paired.items() if key not in LAUNCHER_DATASETS})
    yield '## path\n'
    yield "`_g` stands for any network: `pretrain_network_d` is the discriminator's.\n"
    yield entries(base['path'])
    yield '## train\n\nOf every model of this plugin:\n'
    yield entries(base['train'])
    yield '### augment\n'
    yield entries(parameters_of(BatchAugmentation))
    yield '### nonfinite\n'
    yield entries(parameters_of(declared.NonFinite))
    yield '### Optimizers and schedules\n'
    yield (
        '`optim_*`: `type` is any class of `torch.optim`, or of the package `pytorch_optimizer` where it is installed; '
        "its arguments are that class's, and `lr_mult`: factors on the learning rate by layer. `scheduler`: `type` is "
        "one of `torch.optim.lr_scheduler`, BasicSR's `MultiStepRestartLR` (also as `MultiStepLR`) and "
        '`CosineAnnealingRestartLR`, or:\n'
    )
    yield _entry('LinearDecayLR', ours[0].SCHEDULERS['LinearDecayLR'], ('optimizer', 'last_epoch'), '####')
    yield '### Models\n\n`model_type` names one. Those that build on another take its keys too.\n'
    for kind in ours:
        shown = ', '.join(f'`{key}`' for key, parameter in _keys_of(kind).items() if parameter.needed)
        yield f'#### {kind.__name__}\n\n{prose(summary_of(kind))}\n'
        yield f'{_file_of(kind)}; builds on `{kind.__base__.__name__}`. Needs {shown}.\n'
        own = {key: p for form in FORMS if form in vars(kind) for key, p in parameters_of(vars(kind)[form]).items()}
        if own and kind is not ours[0]:
            yield entries(own)
    yield '## val\n'
    yield entries(base['val'])
    yield 'Each section of `metrics` has a `type`, arguments of [that metric](reference_components.md#metrics), and\n'
    yield entries(parameters_of(declared.Metric))
    yield '## logger\n'
    yield entries(base['logger'])
    yield '`wandb`:\n'
    yield entries(parameters_of(declared.Wandb))
    yield '## dist_params\n'
    yield entries(parameters_of(declared.DistParams))
    yield '## custom_imports\n'
    yield entries(parameters_of(declared.CustomImports))


def _components() -> Iterator[str]:
    yield f'# Components\n\n{_WRITTEN}\n'
    yield (
        "What this plugin adds to BasicSR's registries, with its arguments in an option file, written as in "
        '[the other keys](reference.md). Docstrings say more: shapes, ranges, errors, sources.\n'
    )
    for title, (registry, use) in _USES.items():
        yield f'## {title}\n\n{use}\n'
        ours = {name: value for name, value in registered(registry).items() if value.__module__.startswith('ext_')}
        pyiqa: dict = {LOSS_REGISTRY: PyIQALoss, METRIC_REGISTRY: pyiqa_metric}
        ours |= {'pyiqa.NAME': pyiqa[registry]} if registry in pyiqa else {}
        for name, value in ours.items():
            yield _entry(name, value, (*_GIVEN.get(title, ()), *(('name',) if 'pyiqa' in name else ())))


def _entry(name: str, target: Any, given: Collection[str], level: str = '###') -> str:
    keys = parameters_of(target)
    if inspect.isclass(target) and issubclass(target, Dataset):
        given, keys = (
            LAUNCHER_DATASETS,
            {k: p for form in ('Options', 'TrainOptions') for k, p in declared.declared(target, form).items()},
        )
    shown = {key: parameter for key, parameter in keys.items() if key not in given}
    text = f'{level} {name}\n\n{prose(summary_of(target))}\n\n{_file_of(target)}\n'
    return f'{text}\n{entries(shown)}' if shown else text


def _basicsr() -> Iterator[str]:
    yield f'# Components of BasicSR\n\n{_WRITTEN}\n'
    yield (
        'What BasicSR 1.4.2 registers, with its signatures; its docstrings explain the arguments. '
        '[compatibility.md](compatibility.md) says what this plugin mends in it.\n'
    )
    for title in [title for title in _USES if title != 'Degradations']:
        yield f'## {title}\n'
        for name, value in registered(_USES[title][0]).items():
            if value.__module__.startswith('basicsr.'):
                keys = {k: p for k, p in parameters_of(value).items() if k not in _GIVEN.get(title, ())}
                shown = ', '.join(k if p.needed else f'{k}={p.default!r}' for k, p in keys.items())
                yield f'- `{name}`' if title == 'Datasets' else f'- `{name}({shown})`'
        yield ''
    yield '## Models\n\nWith the keys that each adds to the model that it builds on.\n'
    models = registered(MODEL_REGISTRY)
    for name, model in models.items():
        if model.__module__.startswith('basicsr.'):
            known = model.__base__.__name__ in models
            added = sorted(_keys_of(model).keys() - (_keys_of(model.__base__) if known else {}).keys())
            on = f' on `{model.__base__.__name__}`' if known else ''
            yield f'- `{name}`{on}{": " if added else ""}{", ".join(f"`{key}`" for key in added)}'
    yield ''


def _keys_of(model: type) -> dict[str, Parameter]:
    """The keys that a model declares, as colon paths."""
    forms = zip(('', 'train:'), FORMS, strict=True)
    return {f'{above}{key}': p for above, form in forms for key, p in declared.declared(model, form).items()}


# ---------------------------------------------------------------------- Markdown
def entries(keys: Mapping[str, Parameter]) -> str:
    """A Markdown list, with an empty line after it: `key: default` (kind), meaning."""
    lines = []
    for key, parameter in keys.items():
        kind = '' if _is_seen(parameter) else _kind(parameter.schema)
        notes = ', '.join(note for note in (kind, 'needed' if parameter.needed else '') if note)
        head = key if parameter.needed else f'{key}: {_yaml(parameter.default)}'
        text = _cell(_SAID_DEFAULT.sub('', parameter.text))
        lines.append(f'- `{head}`{f" ({notes})" if notes else ""} {text}'.rstrip())
    return '\n'.join(lines) + '\n'


def _is_seen(parameter: Parameter) -> bool:
    """Whether the default shows what the key takes: a number, true or false, a text, or a list of one of these."""
    kinds = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'text'}
    said, default = words(parameter.schema).removesuffix(' or ~'), parameter.default
    if isinstance(default, list | tuple) and default:
        said, default = said.removeprefix('a list whose values are each '), default[0]
    return said == kinds.get(type(default))


def _kind(schema: dict) -> str:
    text = re.sub(r' whose values are each (?:a )?([^|]+?)(?= or ~|$)', r' of \1s', words(schema))
    text = re.sub(r'\ba (?=list|number|section|whole)', '', text.replace(' or ~', '').replace("'", '`'))
    return text.replace('whole number', 'integer').replace(' of at least ', ' ≥ ')


def prose(text: str) -> str:
    """A docstring as Markdown: reST's double backticks and cross-references as code, and no HTML."""
    text = re.sub(r':\w+:`~?(?:[\w.]*\.)?(\w+)`', r'`\1`', text).replace('``', '`')
    parts = re.split(r'(`[^`]*`)', text)
    return ''.join(part if part.startswith('`') else re.sub(r'([<*|])', r'\\\1', part) for part in parts)


def _cell(text: str) -> str:
    text = prose(re.sub(r'\bNone\b', '`~`', ' '.join(text.split()).replace(' | ', ' or ')))
    return text[:1].upper() + text[1:] if re.match('[a-z]+,? ', text) else text


def _file_of(target: Callable) -> str:
    path = f'{inspect.getmodule(target).__name__.replace(".", "/")}.py'  # type: ignore[union-attr]
    return f'[{path}](../{path})'


def _yaml(value: Any) -> str:
    """A default as an option file has it."""
    names: dict[Any, str] = {None: '~', True: 'true', False: 'false'}
    if value is None or isinstance(value, bool):
        return names[value]
    if isinstance(value, list | tuple):
        return f'[{", ".join(map(_yaml, value))}]'
    if isinstance(value, dict):
        return f'{{{", ".join(f"{key}: {_yaml(one)}" for key, one in value.items())}}}'
    return repr(value) if value in ('', '{}') else str(value)
