"""Damage every option file: is each damage refused before anything is made, or does it have its effect?

Examples:
    python studies/option_damage.py --jobs 2 --json damage.json
    python studies/option_damage.py --files options/train_mask_esrgan.yml --damages 1000 --seed 3

Hypothesis draws the damages: keys misspelt, removed, doubled or moved to another section, values of another type or out
of range, broken paths, replaced sections, cut lines, wrong indentation, tags, and other values that are valid. The
launcher then gets each file, in a folder with stand-ins for the images and weights that the option files name. What the
check accepts, and what means something else than before, is made small and run for two iterations of its last phase,
with a validation, while every read of an option is noted. The columns:
    refused   by the check, with a message that names a key or a file, and nothing was made
    same      the file means what it meant before, a comment for instance
    effect    the run finished, and each changed key was read
    warned    the run finished, and a warning names each changed key that was not read
    idle      the run finished; what it did not read is for another machine or launcher (IDLE), or is not there any more
    FAILED    leak: accepted, and a changed key was neither read nor named; stopped: accepted, then ended by an error;
              half-made: refused, but something was made; unnamed: refused, but no key or file is named; traceback; hang
The exit status is 1 if any failed. With --json, files whose result it already holds for the same seed and number of
damages are not damaged again, so an interrupted study continues.
"""

# ruff: noqa: E402  # BasicSR can be imported only after register_all()
import argparse
import contextlib
import copy
import io
import json
import logging
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import hypothesis
import hypothesis.configuration
import lmdb
import numpy as np
import torch
import yaml
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core import launch
from ext_core.errors import UserError, exit_status, refusal
from ext_core.registration import register_all

register_all()  # what follows imports BasicSR

import torchvision
from basicsr.utils import logger as basicsr_logger
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from ext_core.atomic import atomic_write_text
from ext_core.options import loading, yaml_safe
from ext_core.options.check import check_options
from ext_core.options.metrics import leave_out_metrics
from ext_core.options.positions import Positions
from ext_core.options.problems import LAUNCHER, LAUNCHER_DATASETS, LAUNCHER_PATHS, section
from ext_core.train.dry_run import phases_of
from ext_core.train.trainer import Trainer
from ext_core.use import adaptation, adaptation_options

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('options', 'studies/options')
GOOD = ('refused', 'same', 'effect', 'warned', 'idle')
SECONDS, WAITING = 60.0, 600.0  # of computing, and of the clock; longer is a hang: of the check, and of the run
HR_SIZE, VAL_SIZE, IMAGES = 576, 288, 16  # px: a multiple of all scales; NIQE wants two blocks of 96; for one batch

# read only where it matters: with several processes, a GPU, workers, or an account of wandb
IDLE = re.compile(r'dist_params(:.*)?|logger:wandb(:.*)?|datasets:\w+:(prefetch_mode|num_prefetch_queue|pin_memory)')

# makes any recipe a matter of seconds
SMALL = {
    'at_most': {
        'network_?:num_feat': 8,
        'network_?:num_block': 1,
        'network_?:num_grow_ch': 4,
        'network_?:num_group': 1,
        'network_?:num_conv': 2,
        'network_?:num_hidden': 8,
        'network_?:squeeze_factor': 2,
        'network_d:input_size': 128,
        'datasets:train:gt_size': 128,
        'datasets:train:batch_size_per_gpu': 2,
        'datasets:*:num_worker_per_gpu': 0,
        'train:pretrain_iters': 1,
        'train:autoencoder_iters': 1,
        'train:net_d_init_iters': 1,
        'logger:print_freq': 1,
    },
    'whole_lr': ['datasets:train:gt_size'],
    'replace': {'train:accumulate': 1, 'datasets:*:persistent_workers': False},
}

# ---------------------------------------------------------------------- damages
LINE = re.compile(r'^(?P<indent> *)(?P<key>[\w*?:]+):(?P<space> *)(?P<value>[^#\n]*?)(?P<rest>\s*(?:#.*)?)$')
NUMBER = re.compile(r'^(?:!!float )?[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$')
LETTERS = st.sampled_from('abcdefghijklmnopqrstuvwxyz_-. 1A')
WORDS = st.text(LETTERS, max_size=6)
NUMBERS = (
    st.sampled_from([-1, 0, 0.5, 1.5, 1e30, 1e-30, math.nan, math.inf]) | st.integers(-(10**15), 10**15) | st.floats()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | WORDS | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.just('type'), inner, max_size=2),
    max_leaves=3,
)
# fmt: off
TAGS = [
    '!!python/object/apply:os.getcwd []', '!!python/name:os.system', '!!python/tuple [1, 2]', '!!int abc', '!!binary x',
    '!!set {a, b}', '!!timestamp 1', '!!map 5', '!!seq 5', '!custom 3', '&a [*a]', '*nothing', '!!bool maybe',
    '!!omap [a: 1]', '!!float',
]
# fmt: on
SCHEDULES = ['MultiStepLR', 'CosineAnnealingRestartLR', 'LinearDecayLR', 'StepLR', 'ReduceLROnPlateau']
OPTIMIZERS = ['Adam', 'AdamW', 'SGD', 'RMSprop', 'LBFGS']
REGISTRIES = (ARCH_REGISTRY, LOSS_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY)


def flow(value: Any) -> str:
    """A value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).splitlines()[0]


@st.composite
def damages(draw: Any, text: str) -> tuple[str, str]:
    """The kind of a damage, and the text that it leaves of an option file."""
    rows = text.splitlines()
    every = {number: match for number, row in enumerate(rows) if (match := LINE.match(row))}
    values = [number for number, line in every.items() if line['value']]
    sections = [number for number in every if number not in values]
    anywhere = ('misspelt', 'removed', 'doubled', 'tag', 'cut line', 'indentation', 'cut file', 'character')
    kinds = {kind: list(every) for kind in anywhere}
    kinds |= {
        'moved': list(every) if sections else [],
        'other type': values,
        'out of range': [n for n in values if NUMBER.match(every[n]['value']) or every[n]['value'][0] == '['],
        'path': [n for n in values if '/' in every[n]['value'] or 'pretrain' in every[n]['key']],
        'component': [n for n in values if every[n]['key'] in ('type', 'model_type')],
        'valid': [n for n in values if re.match(r'[\d\[]|!!float|true|false|~', every[n]['value'])],
        'section': sections,
    }
    kind = draw(st.sampled_from([kind for kind, lines in kinds.items() if lines]))
    number = draw(st.sampled_from(kinds[kind]))
    row, line = rows[number], every[number]
    indent, key, value = len(line['indent']), line['key'], line['value']
    end = number + 1  # after the last row of the key
    for later in range(number + 1, len(rows)):
        if rows[later].strip() and not rows[later].lstrip().startswith('#'):
            if len(rows[later]) - len(rows[later].lstrip()) <= indent:
                break
            end = later + 1
    new = value
    if kind == 'misspelt':
        at, letter = draw(st.integers(0, len(key) - 1)), draw(LETTERS)
        swapped = key[:at] + key[at : at + 2][::-1] + key[at + 2 :]
        key = draw(st.sampled_from([key[:at] + key[at + 1 :], key[:at] + letter + key[at:], swapped, key.upper()]))
    elif kind == 'other type':
        new = flow(draw(VALUES))
    elif kind == 'out of range':
        parts = value.strip('[]').split(',')
        parts[draw(st.integers(0, len(parts) - 1))] = f' {flow(draw(NUMBERS))}'
        new = f'[{",".join(parts).strip()}]' if value[0] == '[' else parts[0].strip()
    elif kind == 'path':
        cut = value[: draw(st.sampled_from([at for at, letter in enumerate(value) if letter == '/'] or [0]))]
        broken = [value + 'x', value[1:], cut, f'/{value}', f'~nobody/{value}', value.replace('/', '\\'), f'{value}/']
        new = draw(st.sampled_from([*broken, f'"{value}\\0"', '.', "''", f'[{value}, {value}]', 'a' * 300]))
    elif kind == 'component':
        names = {name.removesuffix('_basicsr') for registry in REGISTRIES for name, _ in registry}
        new = draw(st.sampled_from([*SCHEDULES, *OPTIMIZERS, *sorted(names)]))
    elif kind == 'valid':
        old = yaml_safe.parse(value)
        item = draw(st.sampled_from(old or [1])) if isinstance(old, list) else old
        if isinstance(item, bool) or item is None:
            other = not item
        elif isinstance(item, int | float):
            other = draw(st.sampled_from([item + 1, item * 2, type(item)(item / 2), max(item - 1, 0)]))
        else:
            other = item
        new = flow([other if part == item else part for part in old] if isinstance(old, list) else other)
    elif kind == 'tag':
        new = draw(st.sampled_from(TAGS))
    if kind == 'removed':
        rows[number:end] = []
    elif kind == 'doubled':
        rows[number:number] = rows[number:end]
    elif kind == 'moved':
        target = draw(st.sampled_from(sections))
        hypothesis.assume(not number <= target < end)
        deeper = len(every[target]['indent']) + 2 - indent
        block = [' ' * deeper + moved if deeper > 0 else moved[min(-deeper, indent) :] for moved in rows[number:end]]
        rest = {at: [kept] for at, kept in enumerate(rows) if not number <= at < end}
        rest[target] += block
        rows = [kept for group in rest.values() for kept in group]
    elif kind == 'section':
        rows[number:end] = [f'{line["indent"]}{key}: {flow(draw(VALUES))}']
    elif kind == 'cut line':
        rows[number] = row[: draw(st.integers(0, len(row) - 1))]
    elif kind == 'indentation':
        rows[number] = draw(st.sampled_from(['', ' ', '  ', '   ', '    ', ' ' * 6, '\t'])) + row.lstrip()
    elif kind in ('cut file', 'character'):
        at = draw(st.integers(0, len(text) - 1))
        letter = draw(st.sampled_from('x :-#[{"\'\n\t&*!%@0\x00é'))
        rows = [text[:at] + (letter + text[at + 1 :] if kind == 'character' else '')]
    else:
        rows[number] = f'{line["indent"]}{key}: {new}{line["rest"]}'
    damaged = '\n'.join(rows) + '\n' * (kind not in ('cut file', 'character'))
    hypothesis.assume(damaged != text)
    return kind, damaged


def described(kind: str, before: str, after: str) -> str:
    """Where two texts part."""
    old, new = [*before.splitlines(), ''], [*after.splitlines(), '']
    at = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)) - 1)
    return f'{kind}: line {at + 1}: {old[at].strip()!r} becomes {new[at].strip()!r}'


# ---------------------------------------------------------------------- who reads what
class Noted(dict):
    """Options that note in ``log`` the colon path of each key that is read.

    ``path:?`` is noted where the keys of a section are listed; ``path:*`` where a component's section is read as a
    whole, or is an argument itself.
    """

    SHALLOW = re.compile(r'(train|val|logger|path|datasets|train:losses|val:metrics|datasets:[^:]*)?')

    def __init__(self, values: dict, log: set[str], path: str = ''):
        self.log, self.path, self.shallow = log, path, bool(self.SHALLOW.fullmatch(path))
        wrapped = {k: Noted(v, log, self.under(k)) if isinstance(v, dict) else v for k, v in values.items()}
        super().__init__(wrapped)

    def under(self, key: object) -> str:
        return f'{self.path}:{key}' if self.path else str(key)

    def keys(self) -> Any:
        self.log.add(self.under('?'))
        return super().keys()

    def __iter__(self) -> Iterator:  # also keeps ** from taking the short way past __getitem__
        return iter(self.keys())

    def copy(self) -> 'Noted':
        twin = Noted({}, self.log, self.path)
        dict.update(twin, dict.items(self))
        return twin

    def __deepcopy__(self, memo: dict) -> 'Noted':
        twin = self.copy()
        dict.update(twin, {key: copy.deepcopy(value, memo) for key, value in dict.items(self)})
        return twin

    def __or__(self, other: Any) -> 'Noted':
        twin = self.copy()
        twin.update(other)
        return twin

    def __reduce__(self) -> tuple:
        return dict, (dict(dict.items(self)),)


def _noting_a_key(name: str) -> Callable:
    def method(self: Noted, key: str, *default: Any) -> Any:
        self.log.add(self.under(key))
        if not self.shallow and isinstance(dict.get(self, key), dict):
            self.log.add(self.under(f'{key}:*'))
        return getattr(dict, name)(self, key, *default)

    return method


def _noting_all(name: str) -> Callable:
    def method(self: Noted) -> Any:
        self.log.add(self.under('?' if self.shallow else '*'))
        return getattr(dict, name)(self)

    return method


for _name in ('__getitem__', '__contains__', 'get', 'pop', 'setdefault'):
    setattr(Noted, _name, _noting_a_key(_name))
for _name in ('items', 'values'):
    setattr(Noted, _name, _noting_all(_name))


def differences(old: dict, new: dict, path: str = '') -> Iterator[str]:
    """Colon paths of what two options differ in, but for what follows from other options."""
    given = {'': LAUNCHER, 'path': LAUNCHER_PATHS}.get(path, LAUNCHER_DATASETS if path.startswith('datasets:') else ())
    for key in [key for key in {**old, **new} if key not in given]:
        before, after, name = old.get(key), new.get(key), f'{path}:{key}' if path else str(key)
        moved = (key in old) != (key in new) and not Noted.SHALLOW.fullmatch(path)  # elsewhere ~ is as absent
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, name)
        elif moved or repr(before) != repr(after):  # 1 and 1.0 differ, as do true and 1
            yield name
            if isinstance(after, dict):
                yield from differences({}, after, name)


def is_read(path: str, opt: dict, log: set[str]) -> bool:
    """Whether a run noticed a key, or that it is not there."""
    above, _, key = path.rpartition(':')
    parts = path.split(':')
    if path in log or any(':'.join([*parts[:depth], '*']) in log for depth in range(1, len(parts))):
        return True
    values = section(opt, *parts[:-1])
    noticed = isinstance(values.get(key), dict) or (key not in values and not Noted.SHALLOW.fullmatch(above))
    return noticed and (f'{above}:?' if above else '?') in log


# ---------------------------------------------------------------------- one file through the launcher
class Same(Exception):
    """The options are what they were."""


class OutOfTime(BaseException):
    """Past ``except Exception``."""


def is_training(opt: dict) -> bool:
    return 'train' in (opt.get('datasets') or {})


def as_recipe(file: Path) -> Path:
    """The file, or of a two-stage training the options of its first stage, as a file beside it."""
    if 'stage1' not in loading.load(file):
        return file
    stage = file.with_name('stage1_of_two.yml')
    stage.write_text(adaptation.plan(Path.cwd(), file, (), False, None).files['stage1.yml'], encoding='utf-8')
    return stage


def resolved(file: Path) -> dict:
    """The options of a run, as the launcher completes and checks them.

    Raises:
        UserError: If the check refuses them.
    """
    file = as_recipe(file)
    training, positions = is_training(loading.load(file)), Positions()
    args = loading.parse_arguments(['-opt', str(file)], training)
    _, opt = loading.resolve(args, Path.cwd(), training, positions)
    check_options(opt, training, positions)
    leave_out_metrics(opt)
    return opt


def set_timers(computing: float, waiting: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, computing)
    signal.setitimer(signal.ITIMER_REAL, waiting)


def attempt(file: Path, undamaged: dict) -> tuple[str, str]:
    """Give a damaged file to the launcher, from the current folder.

    Args:
        file (Path): The file.
        undamaged (dict): What it was before, see :func:`resolved`.

    Returns:
        tuple[str, str]: What became of it (a column, or a failure), and the message, traceback or unread keys.
    """
    log: set[str] = set()
    changed: list[str] = []
    accepted: dict = {}
    warned: list[str] = []
    run, before, output = Path.cwd() / 'run', sorted(os.listdir()) + sorted(os.listdir('experiments')), io.StringIO()
    resolve, prepare, train = loading.resolve, launch._prepare, Trainer.run

    def boxed(*args: Any, **kwargs: Any) -> tuple[dict, dict]:
        merged, opt = resolve(*args, **kwargs)
        box = Noted({}, log)
        dict.update(box, opt)
        return merged, box

    def prepare_small(box: Noted, args: argparse.Namespace, positions: Positions) -> list[str]:
        opt = dict(box)
        warned.extend(prepare(opt, args, positions))
        changed.extend(differences(undamaged, opt))
        accepted.update(copy.deepcopy(opt))
        if not changed:
            raise Same
        set_timers(SECONDS, WAITING)
        model = MODEL_REGISTRY.get(opt['model_type'])
        if hasattr(model, 'option_problems'):  # a check, which is no use of what it reads
            stack.enter_context(mock.patch.object(model, 'option_problems', return_value=()))
        if section(opt, 'network_d').get('type') in (None, 'VGGUAE'):  # others want 128 px, and are faster
            loading.apply_overlay(opt, {'at_most': {'datasets:train:gt_size': 64}})
        loading.apply_overlay(opt, SMALL)
        opt['root_path'] = str(run)
        loading._complete_paths(opt, run)
        for key, value in opt['path'].items():
            if key.startswith('pretrain_network') and isinstance(value, str):
                options = {**opt[key.removeprefix('pretrain_')]}
                weights = ARCH_REGISTRY.get(options.pop('type'))(**options).state_dict()
                run.mkdir(exist_ok=True)
                opt['path'][key] = str(run / f'{key}.pth')
                torch.save({'params': weights, 'params_ema': weights}, opt['path'][key])
        box.clear()
        log.clear()
        box.__init__(opt, log)  # type: ignore[misc]
        return list(warned)

    def short(trainer: Trainer, *args: Any) -> int:
        trainer.total_iter = min(trainer.total_iter, 1 + len(phases_of(trainer.model, trainer.total_iter)))
        return train(trainer, *args)

    def ring(number: int, frame: Any) -> None:
        raise OutOfTime

    former = {number: signal.signal(number, ring) for number in (signal.SIGALRM, signal.SIGPROF)}
    set_timers(SECONDS, WAITING)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(output))
            stack.enter_context(contextlib.redirect_stderr(output))
            stack.enter_context(mock.patch.object(loading, 'resolve', boxed))
            stack.enter_context(mock.patch.object(launch, '_prepare', prepare_small))
            stack.enter_context(mock.patch.object(Trainer, 'run', short))
            stack.enter_context(mock.patch('basicsr.utils.options.dict2str', return_value=''))  # reads everything
            try:
                file = as_recipe(file)
                start = launch.train if undamaged['is_train'] else launch.test
            except Exception as error:
                if (said := refusal(error)) is None:
                    raise
                status = 1
                print(f'error: {said}')
            else:
                with mock.patch.dict(os.environ):
                    status = start(Path.cwd(), ['-opt', str(file)])
    except Same:
        return 'same', ''
    except OutOfTime:
        return 'hang', traceback.format_exc()
    except (Exception, SystemExit):
        return 'traceback', traceback.format_exc()
    finally:
        set_timers(0, 0)
        for number, handler in former.items():
            signal.signal(number, handler)
        shutil.rmtree(run, ignore_errors=True)
        for name in list(basicsr_logger.initialized_logger):
            for output_of in logging.getLogger(name).handlers[:]:
                logging.getLogger(name).removeHandler(output_of)
                output_of.close()
        basicsr_logger.initialized_logger.clear()
    message = output.getvalue().rpartition('error: ')[2].strip()
    if status and changed:
        return 'stopped', output.getvalue()[-3000:]
    if status:
        keys = re.findall(r'(\w+) *:', file.read_text(encoding='utf-8'))
        names = {*keys, *(leaf.rpartition(':')[2] for leaf in loading.leaves(undamaged))}
        points = [line for line in message.splitlines() if line.startswith('  - ')] or [message]
        if sorted(os.listdir()) + sorted(os.listdir('experiments')) != before:
            return 'half-made', message
        if 'Traceback' in message or not all('.yml' in p or names & set(re.findall(r'\w+', p)) for p in points):
            return 'unnamed', message
        return 'refused', message
    unread = [path for path in changed if not is_read(path, accepted, log)]
    idle = [
        path
        for path in unread
        if IDLE.fullmatch(path) or path.split(':')[-1] not in section(accepted, *path.split(':')[:-1])
    ]
    leaks = [path for path in unread if path not in idle and not any(path in warning for warning in warned)]
    if leaks:
        return 'leak', f'accepted, but neither read nor named: {", ".join(leaks)}'
    return ('effect' if not unread else 'warned' if set(unread) - set(idle) else 'idle'), ', '.join(unread)


# ---------------------------------------------------------------------- images and weights for the files to name
def network_weights(options: dict) -> dict[str, torch.Tensor]:
    with torch.device('meta'):
        return ARCH_REGISTRY.get(options['type'])(**{k: v for k, v in options.items() if k != 'type'}).state_dict()


def save_weights(weights: dict[str, torch.Tensor], file: Path, with_key: bool = True) -> None:
    """Save weights of these shapes, small and equal: one number of each tensor is stored, whatever its size."""
    equal = {}
    for name, tensor in weights.items():
        fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 10
        equal[name] = torch.full((1,) * tensor.dim(), 0.5 / fan_in).to(tensor.dtype).expand(tensor.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'params': equal, 'params_ema': equal} if with_key else equal, file)


def stand_ins(root: Path, recipes: dict[str, dict], wanted: list[str]) -> None:
    """Make, below a folder, images and weights for the recipes of these names; what lies in a neighbouring folder is
    made beside it."""
    places: dict[Path, tuple[bool, int, int]] = {}  # is an LMDB, pixels of a side, images
    for opt in map(recipes.get, wanted):
        for phase, data_opt in opt['datasets'].items():  # type: ignore[index]
            side, count = (HR_SIZE, IMAGES) if phase == 'train' else (VAL_SIZE, 1)
            if phase == 'train':
                few = data_opt['batch_size_per_gpu'] / data_opt.get('dataset_enlarge_ratio', 1)
                count = max(count, math.ceil(few))
            for key, value in data_opt.items():
                if key.startswith('dataroot') and value is not None:
                    place = (root / value).resolve()
                    before = places.get(place, (False, 0, 0))
                    own = side if key == 'dataroot_gt' else side // opt['scale']  # type: ignore[index]
                    is_lmdb = data_opt['io_backend']['type'] == 'lmdb'
                    places[place] = is_lmdb, max(before[1], own), max(before[2], count)
    noise = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    for place, (is_lmdb, side, count) in places.items():
        place.mkdir(parents=True)
        png = cv2.imencode('.png', cv2.resize(noise, (side, side)))[1].tobytes()
        names = [f'{number:04}' for number in range(count)]
        if is_lmdb:
            with lmdb.open(str(place), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
                for name in names:
                    transaction.put(name.encode(), png)
            (place / 'meta_info.txt').write_text(''.join(f'{name}.png ({side},{side},3) 1\n' for name in names))
        for name in () if is_lmdb else names:
            (place / f'{name}.png').write_bytes(png)
    for name in ('vgg16', 'vgg19', 'alexnet'):
        with torch.device('meta'):
            weights = getattr(torchvision.models, name)(weights=None).state_dict()
        file = root / 'experiments' / 'pretrained_models' / f'{name}_features.pth'
        save_weights({key: value for key, value in weights.items() if key.startswith('features')}, file, False)
    for opt in map(recipes.get, wanted):
        for key, value in (opt.get('path') or {}).items():  # type: ignore[union-attr]
            if key.startswith('pretrain_network') and isinstance(value, str):
                saved = f'network_{Path(value).stem.split("_")[1]}'  # net_g_latest.pth
                source = recipes.get(Path(value).parts[1], {}).get(saved)
                save_weights(network_weights(source or opt[key.removeprefix('pretrain_')]), root / value)  # type: ignore


def find_recipes(root: Path) -> dict[str, str]:
    """Option files, each with the one by which it is judged: itself or, of one that others inherit, the first of those.
    Others, such as overlays, are left out."""

    def bases(file: Path) -> Iterator[Path]:
        given = yaml_safe.read(file).get('_base_', [])
        for base in [given] if isinstance(given, str) else given:
            path = Path(os.path.normpath(file.parent / base))
            yield path
            yield from bases(path)

    heirs: dict[Path, Path] = {}
    for file in sorted(file for folder in FOLDERS for file in (root / folder).rglob('*.yml')):
        with contextlib.suppress(UserError):  # a file for something else
            opt = loading.load(file)
            if {'model_type', 'datasets', 'name'} <= set(opt) or isinstance(opt.get('stage1'), str):
                heirs[file] = file
    for file in list(heirs):
        for base in bases(file):
            heirs.setdefault(base, file)
    return {str(file.relative_to(root)): str(heir.relative_to(root)) for file, heir in sorted(heirs.items())}


@contextlib.contextmanager
def prepared(files: list[str]) -> Iterator[Path]:
    """A temporary folder with stand-ins for what these files name."""
    recipes: dict = {}
    heirs, wanted, before = find_recipes(ROOT), [], Path.cwd()
    with tempfile.TemporaryDirectory(prefix='option_damage_') as place:
        home = Path(place) / 'stand_ins' / 'main'
        home.mkdir(parents=True)
        os.chdir(ROOT)
        try:
            for heir in sorted(set(heirs.values())):
                opt = loading.load(Path(heir))
                stages = {}
                if 'stage1' in opt:
                    both = adaptation_options.load(Path(heir))
                    stages = {f'{opt["name"]}_{n}': adaptation_options.stage_options(both, n, False) for n in (1, 2)}
                recipes |= stages or {opt['name']: opt}
                wanted += list(stages or [opt['name']]) if heir in {heirs[file] for file in files} else []
            os.chdir(home)
            stand_ins(home, recipes, wanted)
        finally:
            os.chdir(before)
        yield home


@contextlib.contextmanager
def own_folder(home: Path) -> Iterator[None]:
    """A current folder with a copy of the option files, where relative paths lead to the stand-ins."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(dir=home.parents[1]) as place:
        own = Path(place) / 'main'
        own.mkdir()
        for entry in [*home.iterdir(), *home.parent.iterdir()]:
            if entry != home:
                (own if entry.parent == home else own.parent).joinpath(entry.name).symlink_to(entry)
        for folder in FOLDERS:
            if (ROOT / folder).is_dir():
                shutil.copytree(ROOT / folder, own / folder)
        hypothesis.configuration.set_hypothesis_home_dir(Path(place) / 'hypothesis')
        os.chdir(own)
        try:
            yield
        finally:
            os.chdir(before)


# ---------------------------------------------------------------------- the study
def damage_file(file: str, heir: str, count: int, seed: int, home: Path) -> dict:
    """Damage one file. What is drawn depends on the seed and the file's name and text."""
    torch.set_num_threads(1)
    started, counts, failures = time.monotonic(), Counter[str](), []
    with own_folder(home):
        path, text = Path(file), Path(file).read_text(encoding='utf-8')
        undamaged = resolved(Path(heir))

        @hypothesis.seed(zlib.crc32(f'{seed} {file}'.encode()))
        @hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(damages(text))
        def study(damage: tuple[str, str]) -> None:
            kind, damaged = damage
            path.write_text(damaged, encoding='utf-8')
            verdict, message = attempt(Path(heir), undamaged)
            counts[verdict] += 1
            if verdict not in GOOD:
                what = described(kind, text, damaged)
                failures.append({'file': file, 'damage': what, 'verdict': verdict, 'message': message})

        study()
    return {'file': file, 'counts': dict(counts), 'failures': failures, 'seconds': time.monotonic() - started}


def table(results: list[dict]) -> str:
    """The counts, file by file and together."""
    whole: Counter[str] = sum((Counter(result['counts']) for result in results), Counter())
    rows = [(result['file'], Counter(result['counts'])) for result in sorted(results, key=lambda r: r['file'])]
    lines = [f'{"file":48} {"damages":>8}' + ''.join(f' {name:>8}' for name in (*GOOD, 'FAILED'))]
    for name, counts in [*rows, ('all', whole)]:
        numbers = [counts[good] for good in GOOD]
        lines.append(
            f'{name:48}' + ''.join(f' {n:8}' for n in (counts.total(), *numbers, counts.total() - sum(numbers)))
        )
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--files', nargs='+', type=Path, metavar='FILE', help='option files; default: all')
    parser.add_argument('--damages', type=int, default=200, metavar='N', help='damages to each file; default: 200')
    parser.add_argument('--seed', type=int, default=0, help='of the damages; default: 0')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='processes; default: 1')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write, and continue, the results there')
    parser.add_argument('--show', type=int, default=20, metavar='N', help='failures to print; default: 20')
    args = parser.parse_args(argv)
    results: dict[str, dict] = {}

    def job() -> None:
        heirs, plan = find_recipes(ROOT), {'damages': args.damages, 'seed': args.seed}
        files = [os.path.relpath(file.resolve(), ROOT) for file in args.files or map(ROOT.joinpath, heirs)]
        for file in files:
            if file not in heirs:
                raise UserError(f'--files {file}: no recipe, and no recipe inherits it.')
        if args.json and args.json.is_file():
            content = json.loads(args.json.read_text(encoding='utf-8'))
            results.update({r['file']: r for r in content['files']} if content['plan'] == plan else {})
        waiting = [file for file in files if file not in results]
        with prepared(waiting) as home, ProcessPoolExecutor(args.jobs, mp_context=get_context('fork')) as pool:
            jobs = [pool.submit(damage_file, file, heirs[file], args.damages, args.seed, home) for file in waiting]
            for done in as_completed(jobs):
                result = done.result()
                results[result['file']] = result
                line = f'{result["file"]}: {result["counts"]}, {result["seconds"]:.0f} s'
                print(line, file=sys.stderr, flush=True)
                if args.json:
                    atomic_write_text(json.dumps({'plan': plan, 'files': list(results.values())}, indent=1), args.json)

    status = exit_status(job)
    failures = [failure for result in results.values() for failure in result['failures']]
    for failure in failures[: args.show]:
        print(f'\n{failure["file"]}, {failure["damage"]}\n{failure["verdict"]}: {failure["message"][-1500:]}')
    print(f'\n{table(list(results.values()))}')
    return status or int(bool(failures))


if __name__ == '__main__':
    sys.exit(main())
