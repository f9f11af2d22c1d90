"""The option check: everything that can be seen before a run makes or moves anything.

Keys, kinds and ranges are compared with their declaration; what is named by ``type`` is built on the spot, so that each
class says itself what it refuses; files are looked at. Classes may say more about themselves: ``option_problems(opt)``,
a class method of a model, gives colon paths and sentences.
"""

import importlib.util
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

from ext_core.errors import UserError
from ext_core.options import datasets, metrics, trying
from ext_core.options import network_sections as networks
from ext_core.options.declared import is_undeclared, model_keys
from ext_core.options.image_folders import nearby
from ext_core.options.keys import belongs, component_problems, components, plain_sections, section_problems
from ext_core.options.positions import Positions
from ext_core.options.problems import (
    LAUNCHER,
    LAUNCHER_PATHS,
    Problem,
    did_you_mean,
    is_number,
    section,
    unknown_type,
)
from ext_core.options.signatures import ANYTHING, fits, of_hint
from ext_models.registries import look_up

LARGEST = 10**9  # of any number in an option file; iterations, pixels and weights stay far below
HEAVIEST = 10**6  # weight of a loss


def find_problems(opt: dict, is_train: bool) -> list[Problem]:
    """Everything that is wrong with the options of a run, as far as can be seen without running it.

    Reads image headers and LMDB indices, writes nothing.

    Args:
        opt (dict): Options as models get them, completed by :func:`ext_core.options.loading.resolve` (or BasicSR's
            ``parse_options`` and ``root_path``). Relative paths start at the current directory.
        is_train (bool): Whether they are for training or for testing.
    """
    parts: dict[str, Callable] = {
        'sections': _sections,
        'values': _values,
        'components': _components,
        'networks': networks.problems,
        'datasets': datasets.problems,
        'places': _places,
    }
    return list(
        dict.fromkeys(problem for name, part in parts.items() for problem in _guarded(name, part, opt, is_train))
    )


def _guarded(name: str, part: Callable, opt: dict, is_train: bool) -> list[Problem]:
    """A check that stumbles over a value which it did not foresee says so instead of ending in a traceback."""
    found: list[Problem] = []
    with trying.undisturbed():
        try:
            found.extend(part(opt, is_train))
        except Exception as error:
            text = f'the check of the {name} met a value that cannot be right: {type(error).__name__}: {error}'
            found.append(Problem('', text))
    return found


def check_options(opt: dict, is_train: bool, positions: Positions | None = None) -> None:
    """Refuse options with problems; where none is found, also those whose parts do not fit when they meet.

    Args:
        opt (dict): See :func:`find_problems`.
        is_train (bool): Whether they are for training or for testing.
        positions (Positions | None): Where the keys stand, to name file and line. Default: not named.

    Raises:
        UserError: If there are problems; the message lists all of them, one a line.
    """
    found = find_problems(opt, is_train) or _guarded('samples', trying.problems, opt, is_train)
    if found:
        count = 'a problem' if len(found) == 1 else f'{len(found)} problems'
        raise UserError(
            f'the options have {count}; nothing was created or changed.\n'
            + '\n'.join(f'  - {positions.locate(problem) if positions else problem}' for problem in found)
        )


# ---------------------------------------------------------------------- sections and their keys
def _sections(opt: dict, is_train: bool) -> Iterator[Problem]:
    model = look_up(MODEL_REGISTRY, opt.get('model_type'))
    owner = model.__name__ if model else 'a run'
    for name, known in plain_sections(model).items():
        *above, last = name.split(':')
        values = section(opt, *above).get(last) if name else opt
        if not isinstance(values, dict):
            continue
        ours = {'': LAUNCHER, 'path': LAUNCHER_PATHS}.get(name, frozenset())
        values = {key: value for key, value in values.items() if key not in ours}
        for key in values if name == 'path' else ():
            stem, _, network = key.partition('_network_')
            if stem == 'pretrain' and values[key] is not None and not opt.get(f'network_{network}'):
                text = f'there is no network_{network} to load it into. Remove it, or add the network.'
                yield Problem(f'path:{key}', text)
                known = {**known, key: ANYTHING}
            if not is_train and stem.startswith('strict_load') and key.endswith('_except') and values[key]:
                yield Problem(f'path:{key}', 'would test a network with random weights in these layers. Remove it.')
        for network in (values.get('ignore_resume_networks') or ()) if name == 'path' else ():
            if not str(network).startswith('network_') or network not in opt:
                text = (
                    f"there is no section '{network}'.{did_you_mean(str(network), [k for k in opt if 'network_' in k])}"
                )
                yield Problem('path:ignore_resume_networks', f'{text} Name sections, such as network_d.')
        if name == '' and not is_train and 'network_d' in known:  # a test builds the generator alone
            known = {**known, 'network_d': known['network_d']._replace(default=None)}
        if model is None:  # which is reported; without it nothing is known about keys
            known = {**dict.fromkeys(values, ANYTHING), **known}
        elif is_undeclared(model) and name in ('', 'train'):  # find_warnings names them
            known = {**known, **dict.fromkeys(_own(opt, name, known), ANYTHING)}
        yield from section_problems(opt, name, values, known, owner, needs=is_train or not name)
    validates = not is_train or any(phase.split('_')[0] == 'val' for phase in section(opt, 'datasets'))
    for name in (*(('train', 'logger') if is_train else ()), *(('val',) if validates else ())):
        if opt.get(name) is None:
            yield Problem(name, "is missing. Add it to the option file, as in BasicSR's option files.")
    if is_train and isinstance(opt.get('val'), dict) and opt['val'].get('val_freq') is None:
        yield Problem('val:val_freq', 'is missing: training needs it.')
    available, wanted = torch.cuda.device_count(), opt.get('num_gpu')
    if torch.cuda.is_available() and is_number(wanted) and wanted > available and not opt.get('dist'):
        yield Problem('num_gpu', f'is {wanted}, but this machine has {available}. Lower it, or write auto.')


def _values(opt: dict, is_train: bool) -> Iterator[Problem]:
    """Numbers that are not finite or absurdly large, and milestones that do not ascend."""
    waiting: list[tuple[str, Any]] = [('', opt)]
    while waiting:
        path, value = waiting.pop(0)
        if isinstance(value, dict):
            waiting = [(f'{path}:{key}' if path else str(key), element) for key, element in value.items()] + waiting
        elif isinstance(value, list | tuple):
            waiting = [(path, element) for element in value] + waiting
        elif is_number(value):
            if not math.isfinite(value):
                yield Problem(path, f"must be a finite number, but is '{value}'.")
            elif abs(value) > LARGEST and path != 'manual_seed':
                yield Problem(path, f"must lie within {LARGEST:,} of 0, but is '{value}'.")
            elif path.startswith('train:') and path.endswith('_weight') and not 0 <= value <= HEAVIEST:
                yield Problem(path, f"must be a number from 0 to {HEAVIEST:,}, but is '{value}'.")
    milestones: Any = section(opt, 'train', 'scheduler').get('milestones')
    if is_train and fits(milestones, of_hint(list[int])) and milestones != sorted(set(milestones)):
        yield Problem('train:scheduler:milestones', f'must ascend, but are {milestones}.')


# ---------------------------------------------------------------------- models, losses, optimizers, schedules
def _components(opt: dict, is_train: bool) -> Iterator[Problem]:
    model = look_up(MODEL_REGISTRY, opt.get('model_type'))
    if model is None and opt.get('model_type') is not None:
        names = [name for name, _ in MODEL_REGISTRY]
        yield unknown_type('', opt['model_type'], 'model', names)._replace(path='model_type')
    for part in components(opt):
        if part.kind in ('loss', 'optimizer', 'schedule') and is_train and model is not None:
            faults = list(component_problems(opt, part))
            yield from faults or trying.trial(opt, part)
        elif part.kind == 'metric':
            faults = list(component_problems(opt, part))
            if part.target:
                faults = faults or ([] if part.options.get('optional') else list(trying.trial(opt, part)))
                faults += metrics.without_ground_truth(opt, part)
            yield from faults
    if is_train:
        yield from metrics.save_best(opt, model)
        train = section(opt, 'train')
        plain = getattr(model, 'init_training_settings', None) is SRModel.init_training_settings
        if plain and train and not train.get('pixel_opt') and not train.get('perceptual_opt'):
            text = f'neither pixel_opt nor perceptual_opt is given, so {model.__name__} has no loss. Add one.'
            yield Problem('train', text)
    for path, text in model.option_problems(opt) if hasattr(model, 'option_problems') else ():
        yield Problem(path, text)


# ---------------------------------------------------------------------- files and folders
def _places(opt: dict, is_train: bool) -> Iterator[Problem]:
    """Missing weights and states, folders that cannot be written, loggers that are not installed."""
    root, name = Path(str(opt.get('root_path', '.'))), opt.get('name')
    home = (root / 'experiments' / str(name)).resolve()
    for key, value in section(opt, 'path').items():
        if not isinstance(value, str) or not (key.startswith('pretrain_network') or key == 'resume_state'):
            continue
        path = Path(value)
        if path.is_dir():
            yield Problem(f'path:{key}', f'{path} is a folder. Name the file in it.')
        elif not path.is_file():
            text = f'file not found: {path}.{nearby(path)} Correct the path, or write ~ for none.'
            yield Problem(f'path:{key}', text)
            continue
        resumed = opt.get('auto_resume') or section(opt, 'path').get('resume_state')
        if is_train and key != 'resume_state' and not resumed and home in path.resolve().parents:
            yield Problem(
                f'path:{key}',
                f'{value} is in the folder of this experiment, which a new run moves to an archive first. '
                'Continue with --auto_resume, or give this run another name.',
            )
    logger = section(opt, 'logger')
    if isinstance(name, str) and name.strip('.'):
        folders = [root / ('experiments' if is_train else 'results') / name]
        if is_train and logger.get('use_tb_logger') and 'debug' not in name:
            folders.append(root / 'tb_logger' / name)
        for folder in folders:
            link = next(
                (place for place in (folder, *folder.parents) if place.is_symlink() and not place.exists()), None
            )
            existing = next(place for place in (folder, *folder.resolve().parents) if place.exists())
            if link is not None:
                lost = f'{link} is a link to {os.readlink(link)}, which is not there.'
                yield Problem('', f'{lost} Make that folder, or remove the link.')
            elif not existing.is_dir():
                text = f'{existing} is a file, but a folder of this name is needed to write results. Move it away.'
                yield Problem('', text)
            elif not os.access(existing, os.W_OK | os.X_OK):
                yield Problem('', f'{existing} is not writable, so {folder} cannot be made. Change its permissions.')
    if not is_train:
        return
    if logger.get('use_tb_logger') is True and importlib.util.find_spec('tensorboard') is None:
        yield Problem(
            'logger:use_tb_logger',
            'is true, but TensorBoard is not installed. Install it with: pip install tensorboard, or set it to false.',
        )
    if section(logger, 'wandb').get('project') is not None and 'debug' not in str(name):
        if not logger.get('use_tb_logger'):
            yield Problem('logger:wandb:project', 'needs logger:use_tb_logger: true. Set that, or project: ~.')
        if importlib.util.find_spec('wandb') is None:
            text = 'is given, but wandb is not installed. Install it with: pip install wandb, or set project: ~.'
            yield Problem('logger:wandb:project', text)


# ---------------------------------------------------------------------- warnings
def find_warnings(opt: dict, positions: Positions | None = None) -> list[str]:
    """What may be meant in the options of a run and may be a mistake, and keys that it does not read.

    Args:
        opt (dict): Options in which :func:`find_problems` finds nothing.
        positions (Positions | None): Where the keys stand, to name file and line. Default: not named.
    """
    found = [*(_never(opt) if opt['is_train'] else ()), *_unread(opt)]
    return [positions.locate(warning) if positions else str(warning) for warning in found]


def _never(opt: dict) -> Iterator[Problem]:
    """What of a training would never happen within its iterations. It may be meant, as in a shortened run."""
    train, total = section(opt, 'train'), section(opt, 'train').get('total_iter')
    if not is_number(total):
        return
    schedule = section(train, 'scheduler')
    for key in ('milestones', 'restarts'):
        beyond = [value for value in schedule[key] if value > total] if isinstance(schedule.get(key), list) else []
        if beyond:
            text = f'{beyond} lie beyond train:total_iter ({total:g}) and are never reached.'
            yield Problem(f'train:scheduler:{key}', text)
    key, default = ('total_iters', 5) if schedule.get('type') == 'PolynomialLR' else ('total_iter', None)
    ended = schedule.get(key, default)  # of LinearDecayLR, which needs none, and of torch's
    if is_number(ended) and ended < total:
        text = f'is {ended:g} and train:total_iter {total:g}: the learning rate is 0 from there on.'
        yield Problem(f'train:scheduler:{key}', text)
    consequences = {
        'train:warmup_iter': 'the learning rate never reaches its full value',
        'train:pretrain_iters': 'the phase after it never begins',
        'train:autoencoder_iters': 'the phase after it never begins',
        'train:net_d_init_iters': 'the generator is never trained',
        'val:val_freq': 'the validation runs once, at the end',
        'logger:save_checkpoint_freq': 'an interrupted run loses everything',
        'logger:print_freq': 'the log stays empty',
    }
    for path, consequence in consequences.items():
        name, key = path.split(':')
        value = section(opt, name).get(key)
        if is_number(value) and (value >= total if name == 'train' else value > total):
            yield Problem(path, f'is {value:g} and train:total_iter {total:g}: {consequence}.')
    pretrain, autoencoder, alone = phases = [
        train.get(f'{phase}_iters') or 0 for phase in ('pretrain', 'autoencoder', 'net_d_init')
    ]
    every = train.get('net_d_iters') or 1
    if train.get('gan_opt') and all(map(is_number, (*phases, every))) and max(phases) < total:
        first = (max(pretrain + autoencoder, alone) // every + 1) * every
        if first > total:
            text = f'the generator would meet the discriminator first in iteration {first:g} of {total:g}, so never.'
            yield Problem('train:net_d_iters' if every > 1 else 'train:autoencoder_iters', text)


def _unread(opt: dict) -> Iterator[Problem]:
    """Keys that are accepted without effect: BasicSR's option files hold some."""
    model = look_up(MODEL_REGISTRY, opt.get('model_type'))
    if is_undeclared(model):
        known = model_keys(model)
        for name in ('', 'train'):
            for key in _own(opt, name, known[name]):
                text = f'{model.__name__} does not declare this key (docs/extending.md), so nobody checks it.'
                yield Problem(f'{name}:{key}' if name else key, text)
    yield from datasets.unread(opt)
    trained = {'degrade': opt, 'path:resume_state': section(opt, 'path'), 'val:save_best': section(opt, 'val')}
    for path, values in trained.items() if not opt['is_train'] else ():
        if values.get(path.rpartition(':')[2]):
            yield Problem(path, 'is read in training only; here it has no effect.')
    schedule = section(opt, 'train', 'scheduler').get('type')
    if schedule in ('OneCycleLR', 'CyclicLR'):
        text = f'{schedule} has learning rates of its own: lr and lr_mult of the optimizers have no effect.'
        yield Problem('train:scheduler:type', text)
    if section(opt, 'logger').get('save_in_background') is not None:
        yield Problem('logger:save_in_background', 'has no effect: the training loop itself writes checkpoints.')
    for key, value in section(opt, 'path').items():
        match = re.fullmatch(r'(?:strict_load|param_key)_(.+?)(?:_except)?', key)
        if match and value not in (True, 'params', None) and not opt['path'].get(f'pretrain_network_{match[1]}'):
            yield Problem(f'path:{key}', f'has no effect: there is no path:pretrain_network_{match[1]} to load.')


def _own(opt: dict, name: str, keys: Mapping) -> list[str]:
    """Keys of a section that nobody declares, which a model without a declaration may read."""
    values = section(opt, name) if name else opt
    return [k for k in values if k not in keys and k not in LAUNCHER and not belongs(opt, name, k)]
