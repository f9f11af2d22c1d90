"""The option file of a two-stage domain adaptation, which names two recipes and, once, the images; and the stages' own
options, which come from it."""

import inspect
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from basicsr.utils.registry import METRIC_REGISTRY

from ext_core.errors import UserError
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.options.problems import did_you_mean, is_number
from ext_core.project import PROJECT, file_of
from ext_data.roots import roots_of
from ext_models.registries import look_up

NEEDED = ('name', 'stage1', 'stage2', 'hr', 'real_lq', 'val_lq')
SECTIONS = ('shared', 'stage1_options', 'stage2_options')
KEYS = (*NEEDED, 'hr_weights', 'noise', 'hand_over', 'scale', 'val_hr', 'val_gt', *SECTIONS)
DEMO_OVERLAY = Path('options') / 'overlays' / 'demo_adaptation.yml'
NIQE = {'niqe': {'type': 'calculate_niqe', 'crop_border': 4, 'better': 'lower'}}


# ---------------------------------------------------------------------- the option file
def load(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The option file of a two-stage training; ``options/train_domain_adaptation.yml`` explains its keys.

    ``stage1`` and ``stage2`` become paths from the current folder. Overrides are ``key=value`` or ``key:key=value``, of
    keys that the file has, or inherits by ``_base_``.

    Raises:
        UserError: If a key is missing or unknown, or a value is not one that it takes.
    """
    opt = options.load(path)
    options.override(opt, list(overrides))
    for key in opt:
        if key not in KEYS:
            hint = did_you_mean(key, KEYS) or ' What belongs to a recipe goes into shared, or stage1_options.'
            raise UserError(f'{path}: unknown key {key}.{hint}')
    opt.setdefault('hand_over', 'lmdb')
    hr, weights, noise = opt.get('hr'), opt.get('hr_weights'), opt.get('noise')
    if isinstance(hr, list) and len(hr) == 1:
        opt['hr'] = hr = hr[0]
    places = hr if isinstance(hr, list) else [hr]
    stds = noise if isinstance(noise, list) else []
    rules: dict[str, tuple[bool, str]] = {  # whether a value is one that its key takes, and what these are
        'hr': (
            bool(places) and all(isinstance(place, str) for place in places),
            'be a folder or LMDB, or a list of them',
        ),
        'hr_weights': (
            weights is None or (isinstance(weights, list) and len(weights) == len(places)),
            'have a number for each place of hr',
        ),
        'noise': (
            noise is None or (len(stds) == 2 and all(is_number(std) and std >= 0 for std in stds)),
            'be two numbers from 0 on, [at black, added at white]',
        ),
        'hand_over': (opt['hand_over'] in ('lmdb', 'on_the_fly'), 'be lmdb or on_the_fly'),
    }
    rules |= {key: (isinstance(opt.get(key), str), 'be text') for key in NEEDED if key != 'hr'}
    rules |= {key: (isinstance(opt.get(key), str | None), 'be a folder or LMDB, or ~') for key in ('val_gt', 'val_hr')}
    for key in SECTIONS:
        rules[key] = isinstance(opt.setdefault(key, None) or {}, dict), 'be a section of options of a recipe, or ~'
    for key, (fits, what) in rules.items():
        if not fits:
            raise UserError(
                f'{path}: {key} must {what}, but is {opt.get(key)!r}. options/train_domain_adaptation.yml explains it.'
            )
    opt['val_hr'] = opt.get('val_hr') or opt.get('val_gt') or roots_of(opt['hr'])[0]
    for first, second in (('hr', 'real_lq'), ('val_hr', 'val_lq')):
        for place in roots_of(opt[first]):
            if kind(place) != kind(opt[second]):
                raise UserError(
                    f'{path}: {first} ({place}) and {second} ({opt[second]}) must both be folders, or both be LMDBs '
                    '(*.lmdb). scripts/prepare_data.py makes LMDBs.'
                )
    for key in ('stage1', 'stage2'):
        opt[key] = shown(file_of(opt[key], path.parent))
    return opt


def kind(place: str) -> str:
    """BasicSR's name for where images lie."""
    return 'lmdb' if place.rstrip('/').endswith('.lmdb') else 'disk'


def shown(path: Path) -> str:
    """A path from the current folder where it lies below it, else as it is."""
    path = Path(os.path.normpath(Path.cwd() / path))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# ---------------------------------------------------------------------- the stages' options
def stage_options(opt: dict[str, Any], number: int, demo: bool) -> dict[str, Any]:
    """A stage's recipe with the images, the scale, and the options of the user merged over it, in this order.

    Of stage 2 without what the hand-over gives: its training images are HR images alone. ``demo`` also shrinks it, and
    takes embedded photographs.
    """
    merged = options.load(Path(opt[f'stage{number}']))
    merged['name'] = f'{opt["name"]}_stage{number}'
    if opt.get('scale'):
        merged = _scaled(merged, opt['scale'])
    sets: dict[str, dict[str, Any]] = {
        phase: {'name': Path(place).stem, 'io_backend': {'_delete_': True, 'type': kind(place)}}
        for phase, place in (('train', roots_of(opt['hr'])[0]), ('val', opt['val_lq']))
    }
    train, val = sets.values()
    train['dataroot_gt'] = opt['hr']
    if opt.get('hr_weights'):
        train['dataroot_weights'] = opt['hr_weights']
    if number == 1:
        train['dataroot_real_lq'] = opt['real_lq']
        val |= {'dataroot_gt': opt['val_hr'], 'dataroot_real_lq': opt['val_lq']}
    elif opt.get('val_gt'):
        val |= {'dataroot_gt': opt['val_gt'], 'dataroot_lq': opt['val_lq']}
    else:
        del val['io_backend']['_delete_']  # of a section that is replaced as a whole
        val |= {'_delete_': True, 'type': 'SingleImageDataset', 'dataroot_lq': opt['val_lq']}
    noise: dict[str, Any] = {}
    if opt.get('noise'):
        names = dict(zip(('noise', 'shot_noise'), opt['noise'], strict=True))
        noise = {'train': names} if number == 1 else {'degrade': {name: [std, std] for name, std in names.items()}}
    for part in ({'datasets': sets}, noise, opt['shared'], opt[f'stage{number}_options']):
        merged = options.merge(merged, part or {})
    merged, _ = resolve(merged, ['--demo'] if demo else [], Path())
    if demo:
        overlay = yaml_safe.read(PROJECT / DEMO_OVERLAY)
        options.apply_overlay(merged, overlay[f'stage{number}'])
        merged = _scaled(merged, merged['scale'])
    if merged.get('manual_seed') is None:
        merged['manual_seed'] = 0  # a part that is resumed has to know the seed
    if number == 1:
        return merged
    train, val = merged['datasets']['train'], merged['datasets']['val']
    for key in ('dataroot_lq', 'filename_tmpl', 'meta_info_file'):
        train.pop(key, None)
    train['type'] = 'HRImageDataset'
    for key in [key for key in merged if key.startswith('network_degrade')]:
        del merged[key]
    if merged.get('degrade'):
        merged['degrade']['type'] = 'Bicubic'  # until the hand-over names what makes the LR images
    if val['type'] == 'SingleImageDataset' and isinstance(merged.get('val'), dict):  # without HR images
        metrics = merged['val'].get('metrics') or {}
        merged['val']['metrics'] = {name: value for name, value in metrics.items() if not needs_gt(value)} or NIQE
    return merged


def _scaled(opt: dict, scale: int) -> dict:
    """Options of another scale: also that of the generator, whatever it calls it."""
    network = {key: scale for key in ('scale', 'upscale') if key in (opt.get('network_g') or {})}
    return options.merge(opt, {'scale': scale, 'network_g': network})


def needs_gt(metric: dict) -> bool:
    """Whether a metric of ``val:metrics`` compares with a true image."""
    found = look_up(METRIC_REGISTRY, metric.get('type'))
    return found is None or 'img2' in inspect.signature(found).parameters


def resolve(opt: dict, arguments: list[str], root: Path) -> tuple[dict, dict]:
    """:func:`ext_core.options.loading.resolve` of options that are not in a file yet."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'options.yml'
        file.write_text(yaml_safe.dump(opt), encoding='utf-8')
        args = options.parse_arguments(['-opt', str(file), *arguments], is_train=True)
        return options.resolve(args, root, is_train=True)
