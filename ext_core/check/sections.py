"""Sections, keys and numbers of an option file."""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import torch
from basicsr.utils.registry import MODEL_REGISTRY

from ext_core.check import sources
from ext_core.check.hints import did_you_mean, is_number, look_up, section

# BasicSR's keys, also those that stand in its option files though the file's model reads them not; those of a model are
# derived from its source
KEYS: dict[str, frozenset[str]] = {
    '': frozenset(
        {
            'name',
            'model_type',
            'scale',
            'num_gpu',
            'manual_seed',
            'datasets',
            'network_g',
            'network_d',
            'path',
            'train',
            'val',
            'logger',
            'dist_params',
            'find_unused_parameters',
            'is_train',
            'dist',
            'rank',
            'world_size',
            'auto_resume',
            'root_path',
        }
    ),
    'train': frozenset(
        {
            'total_iter',
            'warmup_iter',
            'optim_g',
            'scheduler',
            'ema_decay',
            'pixel_opt',
            'net_d_iters',
            'net_d_init_iters',
        }
    ),
    'val': frozenset({'val_freq', 'save_img', 'save_best', 'suffix', 'metrics', 'pbar'}),
    'logger': frozenset(
        {'print_freq', 'save_checkpoint_freq', 'keep_last', 'save_in_background', 'use_tb_logger', 'wandb'}
    ),
    'path': frozenset(
        {
            'resume_state',
            'ignore_resume_networks',
            'pretrain_network_g',
            'param_key_g',
            'strict_load_g',
            'experiments_root',
            'results_root',
            'models',
            'training_states',
            'log',
            'visualization',
        }
    ),
}
_PATH_KEY = re.compile(r'(pretrain_network|param_key|strict_load)_(\w+?)(_except)?')


class Number(NamedTuple):
    """What a number must satisfy, how to say so, and the same as a JSON Schema."""

    fits: Callable[[Any], bool]
    wanted: str
    schema: dict[str, Any]


_INTEGER = {'type': 'integer'}
_COUNT = Number(lambda v: isinstance(v, int) and v >= 1, 'a whole number of at least 1', _INTEGER | {'minimum': 1})
_WHOLE = Number(lambda v: isinstance(v, int) and v >= 0, 'a whole number, 0 or more', _INTEGER | {'minimum': 0})
_POSITIVE = Number(lambda v: v >= 1, 'a number of at least 1', {'type': 'number', 'minimum': 1})
_ANY = Number(lambda v: True, 'a number', {'type': 'number'})
NUMBERS = {
    'scale': _COUNT,
    'num_gpu': _WHOLE,
    'manual_seed': Number(
        lambda v: isinstance(v, int) and 0 <= v < 2**31,
        'a whole number from 0 to 2147483647',
        _INTEGER | {'minimum': 0, 'maximum': 2**31 - 1},
    ),
    'train:total_iter': _POSITIVE,
    'train:warmup_iter': _ANY,
    'train:ema_decay': Number(
        lambda v: 0 <= v < 1, 'a number in [0, 1)', {'type': 'number', 'minimum': 0, 'exclusiveMaximum': 1}
    ),
    'train:net_d_iters': _COUNT,
    'train:net_d_init_iters': _WHOLE,
    'train:accumulate': _COUNT,
    'train:pretrain_iters': _WHOLE,
    'train:log_gradient_norms': _WHOLE,
    'val:val_freq': _POSITIVE,
    'logger:print_freq': _POSITIVE,
    'logger:save_checkpoint_freq': _POSITIVE,
    'logger:keep_last': _COUNT,
}
DATASET_NUMBERS = {
    'gt_size': _COUNT,
    'batch_size_per_gpu': _COUNT,
    'num_worker_per_gpu': _WHOLE,
    'dataset_enlarge_ratio': Number(lambda v: v > 0, 'a number above 0', {'type': 'number', 'exclusiveMinimum': 0}),
    'num_prefetch_queue': _COUNT,
    'max_bad_samples': _WHOLE,
}

# keys that are true or false
SWITCHES: dict[str, tuple[str, ...]] = {
    'logger': ('use_tb_logger', 'save_in_background'),
    'train': ('channels_last', 'share_vgg'),
    'val': ('save_img', 'pbar'),
    '': ('find_unused_parameters',),
}
DATASET_SWITCHES = ('use_hflip', 'use_rot', 'pin_memory', 'persistent_workers')
# keys that may be left out, but not be ~: the code that reads them would calculate with it
NEVER_NONE = frozenset(
    {
        'train:warmup_iter',
        'train:ema_decay',
        'train:net_d_iters',
        'train:net_d_init_iters',
        'train:accumulate',
        'dataset_enlarge_ratio',
        'num_prefetch_queue',
        'max_bad_samples',
    }
)


def problems(opt: dict, is_train: bool) -> Iterator[str]:
    """Missing sections and keys, unknown keys, and numbers that are none."""
    yield from _missing(opt, is_train)
    yield from _unknown(opt)
    for path, number in NUMBERS.items():
        yield from _number(opt, path, number)
    yield from _choices(opt)
    yield from _devices(opt)
    for phase in section(opt, 'datasets'):
        for key, number in DATASET_NUMBERS.items():
            yield from _number(opt, f'datasets:{phase}:{key}', number)


def _missing(opt: dict, is_train: bool) -> Iterator[str]:
    needed = ['name', 'model_type', 'num_gpu', 'datasets', 'network_g', 'path']
    if is_train:
        needed += ['train', 'logger', 'train:total_iter', 'logger:print_freq', 'logger:save_checkpoint_freq']
        needed += ['val'] if any(key.split('_')[0] == 'val' for key in section(opt, 'datasets')) else []
        needed += ['val:val_freq'] if opt.get('val') is not None else []
    else:
        needed += ['val']
    for path in needed:
        *above, last = path.split(':')
        if above and not section(opt, *above):
            continue  # the section's own absence is reported
        if section(opt, *above).get(last) is None:
            yield f"{path} is missing. Add it to the option file, as in BasicSR's option files."
    for key in ('datasets', 'network_g', 'path', 'train', 'val', 'logger'):
        if opt.get(key) is not None and not isinstance(opt[key], dict):
            yield f"{key} must be a section of keys and values, but is '{opt[key]}'."
    name = opt.get('name')
    if name is not None and (not isinstance(name, str) or set(name) & set('/\\~') or name.strip('.') == ''):
        yield f"name must be text that can name a folder, but is '{name}'. Quote it if it is a number."
    phases = list(section(opt, 'datasets'))
    for phase in phases:
        if phase != 'train' and phase.split('_')[0] not in ('val', 'test'):
            yield f'datasets:{phase}: unknown kind of dataset. There are train, val, val_1, ..., test, test_1, ...'
    wanted = 'train' if is_train else 'test'
    if isinstance(opt.get('datasets'), dict) and not any(phase.split('_')[0] == wanted for phase in phases):
        hint = '' if phases else ' A dataset that is ~ is left out.'
        yield f'datasets:{wanted} is missing. Add it to the option file.{hint}'


def _choices(opt: dict) -> Iterator[str]:
    """Switches that are neither true nor false, which Python would take for true."""
    places = {name: (section(opt, name) if name else opt, keys) for name, keys in SWITCHES.items()}
    strict = tuple(key for key in section(opt, 'path') if key.startswith('strict_load') and not key.endswith('_except'))
    places['path'] = (section(opt, 'path'), strict)
    for phase, dataset in section(opt, 'datasets').items():
        if isinstance(dataset, dict):
            places[f'datasets:{phase}'] = (dataset, DATASET_SWITCHES)
            if dataset.get('prefetch_mode') not in (None, 'cpu', 'cuda'):
                yield f"datasets:{phase}:prefetch_mode must be cpu, cuda or ~, but is '{dataset['prefetch_mode']}'."
    for name, (values, keys) in places.items():
        for key in keys:
            if values.get(key) is not None and not isinstance(values[key], bool):
                yield f"{name}{':' if name else ''}{key} must be true or false, but is '{values[key]}'."


def _devices(opt: dict) -> Iterator[str]:
    available, wanted = torch.cuda.device_count(), opt.get('num_gpu')
    if torch.cuda.is_available() and isinstance(wanted, int) and wanted > available and not opt.get('dist'):
        yield f'num_gpu is {wanted}, but this machine has {available}. Lower it, or write auto.'


def _number(opt: dict, path: str, number: Number) -> Iterator[str]:
    *above, last = path.split(':')
    value = section(opt, *above).get(last, ...)
    if value is None and NEVER_NONE & {path, last}:
        yield f'{path} must be {number.wanted}, but is ~. Leave the key out for its default.'
    elif value not in (None, ...) and not (is_number(value) and number.fits(value)):
        yield f"{path} must be {number.wanted}, but is '{value}'."


def _unknown(opt: dict) -> Iterator[str]:
    model = look_up(MODEL_REGISTRY, opt.get('model_type'))
    if model is None:
        return  # reported elsewhere; without it nothing is known about keys
    read = sources.strings_of(model)
    if read is None:
        return
    around = sources.host_strings()
    for key in opt:
        if key not in KEYS[''] | read | around and not str(key).startswith('network_'):
            yield _message('', key, KEYS[''] | sources.keys_of(model), model)
    extra = frozenset().union(*(vars(base).get('EXTRA_TRAIN_KEYS', ()) for base in model.__mro__))
    for name, known in {'train': extra | read | around, 'val': read | around, 'logger': read | around}.items():
        for key in section(opt, name):
            if key not in KEYS[name] | known:
                yield _message(name, key, KEYS[name] | extra | sources.keys_of(model), model)
    yield from _unknown_paths(opt, model, read)


def _unknown_paths(opt: dict, model: type, read: Collection[str]) -> Iterator[str]:
    networks = {key.removeprefix('network_') for key in opt if str(key).startswith('network_')}
    for key, value in section(opt, 'path').items():
        if key in KEYS['path']:
            continue
        match = _PATH_KEY.fullmatch(str(key))
        if match:
            stem, network, _ = match.groups()
            if stem == 'pretrain_network' and value is not None and network not in networks:
                yield f'path:{key}: there is no network_{network} to load it into. Remove it, or add the network.'
        elif key not in read:
            candidates = {f'{stem}_{n}' for stem in ('pretrain_network', 'param_key', 'strict_load') for n in networks}
            yield _message('path', key, KEYS['path'] | candidates, model)


def _message(name: str, key: Any, candidates: Collection[str], model: type) -> str:
    where = f'{name}:{key}' if name else str(key)
    hint = did_you_mean(key, candidates) or ' Remove it, or correct its spelling.'
    return f'{where}: unknown key; {model.__name__} would ignore it.{hint}'
