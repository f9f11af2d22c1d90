"""From the command line and an option file to the options that training runs with."""

import argparse
import copy
from pathlib import Path
from typing import Any

from ext_core.box import from_box, generators
from ext_core.errors import UserError
from ext_core.options import yaml_safe
from ext_core.options.merging import apply_overlay, merge, walk
from ext_core.options.positions import Positions
from ext_core.options.problems import (
    LAUNCHER,
    LAUNCHER_DATASETS,
    LAUNCHER_PATHS,
    Problem,
    did_you_mean,
    is_number,
    section,
)
from ext_core.project import OPTIONS, OURS, PROJECT, as_called, file_of
from ext_core.registration import import_modules, register_all

_SECTIONS = ('datasets', 'path', 'train', 'val', 'logger')
_LAUNCHER_SETS = 'is set by the launcher; a value in the option file would be ignored. Remove it.'

DEMO_SCALES = (2, 3, 4)
_MOST_FILES = 100  # read for one option file; bases of bases multiply
DEMO_OVERLAYS = Path('options') / 'overlays'


# ---------------------------------------------------------------------- the command line
def parse_arguments(argv: list[str] | None, is_train: bool) -> argparse.Namespace:
    """BasicSR's command line, and ``--demo`` and ``--dry-run``."""
    name = 'train' if is_train else 'test'
    parser = argparse.ArgumentParser(
        prog=as_called(f'basicsr/{name}.py'),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f'example: python basicsr/{name}.py -opt options/{name}_mask_esrgan.yml --demo',
    )
    parser.add_argument('-opt', type=file_of, metavar='FILE', help=f'option file (YAML), or a recipe: {OURS}NAME.yml')
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm'),
        default='none',
        help="'pytorch' under torchrun, 'slurm' under srun",
    )
    parser.add_argument('--debug', action='store_true', help="run as experiment 'debug_<name>': frequent logs, 8 its")
    parser.add_argument('--demo', action='store_true', help='shrink the recipe and run it on embedded photographs')
    parser.add_argument(
        '--force_yml',
        nargs='+',
        action='extend',
        default=[],
        metavar='A:B=C',
        help='override options, for instance train:optim_g:lr=2e-4',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    if is_train:
        parser.add_argument('--auto_resume', action='store_true', help='continue from the newest saved state')
        parser.add_argument(
            '--reset_optim',
            action='store_true',
            help='continue with new optimizers and schedules, as the options have them now',
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='check and build everything, run two iterations of each phase, report cost, leave nothing behind',
        )
    args = parser.parse_args(argv)
    if args.opt is None:
        if not args.demo:
            parser.error('the following arguments are required: -opt')
        args.opt = OPTIONS / f'{name}_mask_esrgan.yml'
    return args


# ---------------------------------------------------------------------- the option file
def load(path: Path, positions: Positions | None = None) -> dict:
    """An option file with its ``_base_`` files (one path or a list, relative to the file, or
    ``basicsr-ext://NAME.yml`` for a recipe of this package) merged underneath.

    They are merged as :func:`ext_core.options.merging.merge` does. A dataset or metric that is ``~`` after that is left
    out.

    Args:
        path (Path): The file.
        positions (Positions | None): Gets the file and line of each key.

    Raises:
        UserError: If a file is missing or malformed, or the files inherit in a circle.
    """
    options = _load(path, (), Positions() if positions is None else positions)
    _leave_out(options)
    return options


def _leave_out(options: dict) -> None:
    """Drop the sections of ``datasets`` and ``val:metrics`` that are ``~``, such as test sets that are not there."""
    for sections in (section(options, 'datasets'), section(options, 'val', 'metrics')):
        for name in [name for name, value in sections.items() if value is None]:
            del sections[name]


def _load(path: Path, above: tuple[Path, ...], positions: Positions) -> dict:
    if path.resolve() in above:
        raise UserError(f'{path}: _base_ files inherit in a circle: ' + ' -> '.join(str(p) for p in above))
    positions.files += 1
    if positions.files > _MOST_FILES:
        raise UserError(f'{path}: more than {_MOST_FILES} files by way of _base_. Let each inherit from fewer.')
    lines: yaml_safe.Lines = {}
    own = yaml_safe.read(path, lines)
    bases = own.pop('_base_', [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) and base.isprintable() for base in bases):
        raise UserError(f"{path}: _base_ must be a path or a list of paths, but is '{bases}'.")
    places = Positions(str(path), lines)
    _require_text_keys(own, places)
    merged: dict = {}
    for base in bases:
        merged = merge(merged, _load(file_of(base, path.parent), (*above, path.resolve()), positions))
    positions.lay_over(places, own)
    return merge(merged, own)


def override(options: dict, entries: list[str]) -> None:
    """Apply ``a:b=c`` entries in place. Values are YAML; a key must exist.

    Raises:
        UserError: If an entry is malformed or names a key that the options do not have.
    """
    if not entries:
        return
    register_all()
    from ext_core.options.keys import belongs
    from ext_core.options.keys import sections as known_sections

    for entry in entries:
        path, equals, text = entry.partition('=')
        if not equals:
            raise UserError(f'--force_yml {entry}: expected key:subkey=value, for instance train:total_iter=1000.')
        *sections, last = [key.strip() for key in path.split(':')]
        place = section(options, *sections) if sections else options
        if last not in place:
            where, known = ':'.join(sections), [':'.join(keys) for keys, _ in walk(options)]
            taken = last in known_sections(options).get(where, {})
            hint = '' if taken else belongs(options, where, last)
            if not hint and not taken:
                same = [key for key in known if key.rpartition(':')[2] == last]
                hint = f" Did you mean '{same[0]}'?" if same else did_you_mean(path.strip(), known)
            raise UserError(
                f"--force_yml {entry}: the option file has no key '{path.strip()}'.{hint} "
                'New keys are added in the option file.'
            )
        place[last] = yaml_safe.parse(text.strip(), f'--force_yml {entry}')


def import_customs(options: dict) -> None:
    """Import what ``custom_imports`` names, before the registries are looked at.

    Raises:
        UserError: If a module cannot be imported, and ``allow_failed_imports`` is not true.
    """
    customs = section(options, 'custom_imports')
    names = customs.get('imports')
    names = [names] if isinstance(names, str) else names
    if isinstance(names, list) and all(isinstance(name, str) for name in names):  # the check refuses others
        register_all()  # they import BasicSR
        import_modules(names, 'custom_imports', customs.get('allow_failed_imports') is True)


# ---------------------------------------------------------------------- what training runs with
def resolve(
    args: argparse.Namespace, root: Path, is_train: bool, positions: Positions | None = None
) -> tuple[dict, dict]:
    """The options of a run.

    Args:
        args (argparse.Namespace): From :func:`parse_arguments`.
        root (Path): Folder that gets ``experiments/``, ``results/`` and ``tb_logger/``.
        is_train (bool): Training or testing.
        positions (Positions | None): Gets the file and line of each key, for messages.

    Returns:
        tuple[dict, dict]: The option file with everything merged, as it is saved beside the results; and the same
        completed with what BasicSR's ``parse_options`` adds (paths, phases, devices), as models get it.
    """
    positions = Positions() if positions is None else positions
    merged = load(args.opt, positions)
    _require_outline(merged, positions)
    import_customs(merged)
    if args.demo:
        before = copy.deepcopy(merged)
        if merged.get('scale') not in DEMO_SCALES:
            raise UserError(f"--demo: scale must be one of {DEMO_SCALES}, but is '{merged.get('scale')}'.")
        weights = (merged.get('path') or {}).get('pretrain_network_g')
        name = 'demo_box.yml' if weights in generators() else 'demo.yml'
        overlay = DEMO_OVERLAYS / name
        apply_overlay(merged, load(PROJECT / overlay))
        # those that the training recipe's --demo leaves
        if not is_train and isinstance(weights, str) and weights not in generators():
            merged['path']['pretrain_network_g'] = weights.replace('experiments/', 'experiments/demo_', 1)
        positions.note_changes(before, merged, f'--demo ({overlay})')
    for entry in args.force_yml:
        before = copy.deepcopy(merged)
        override(merged, [entry])
        positions.note_changes(before, merged, f'--force_yml {entry}')
    _leave_out(merged)
    _require_outline(merged, positions)
    if args.debug and not str(merged.get('name', '')).startswith('debug'):
        merged['name'] = f'debug_{merged.get("name")}'
    opt = copy.deepcopy(merged)
    opt.update(
        is_train=is_train,
        auto_resume=getattr(args, 'auto_resume', False),
        root_path=str(root),
        dist=args.launcher != 'none',
        rank=0,
        world_size=1,
    )
    wanted = opt.get('num_gpu', 'auto')
    if wanted == 'auto' or (is_number(wanted) and wanted >= 0):  # else the check refuses it
        import torch

        available = torch.cuda.device_count() if torch.cuda.is_available() else 0
        opt['num_gpu'] = available if wanted == 'auto' or not available else wanted
    for phase, dataset in (opt.get('datasets') or {}).items():
        dataset['phase'] = phase.split('_')[0]  # val_1, test_2, ...
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        for key in [key for key in dataset if key.startswith('dataroot')]:
            dataset[key] = _expanded(dataset[key])
        # the same file with and without a GPU: what only CUDA can do is switched off where there is none
        if not opt['num_gpu']:
            dataset['pin_memory'] = False
            if dataset.get('prefetch_mode') == 'cuda':
                dataset['prefetch_mode'] = None
        workers = dataset.get('num_worker_per_gpu')
        if not workers and dataset.get('prefetch_mode') == 'cpu':
            dataset['prefetch_mode'] = None  # samples drawn in a thread would disturb the training's random state
        # a DataLoader without workers refuses it; images of validations are read by this process
        if 'persistent_workers' in dataset and (not workers or dataset['phase'] != 'train'):
            dataset['persistent_workers'] = False
    complete_paths(opt, root)
    if getattr(args, 'reset_optim', False):
        if not opt['auto_resume'] and not opt['path'].get('resume_state'):
            raise UserError(
                '--reset_optim gives a training that goes on new optimizers and schedules. Add --auto_resume, or name '
                'the state in path:resume_state.'
            )
        opt['reset_optim'] = True
    val, logger = opt.get('val'), opt.get('logger')
    if is_train and 'debug' in str(opt.get('name')):  # BasicSR's debug mode
        if val is not None:
            val['val_freq'] = 8
        logger = opt['logger'] = (logger or {}) | {'print_freq': 1, 'save_checkpoint_freq': 8}
    if val is not None:
        val.setdefault('suffix', None)  # BasicSR's test looks for the key
        val.setdefault('save_img', False)
    if is_train and logger is not None:
        logger.setdefault('use_tb_logger', False)  # BasicSR's MessageLogger looks for the key
    return merged, opt


def _require_outline(options: dict, positions: Positions) -> None:
    """Check that keys are text, that sections are sections, and that nothing is given which the launcher sets.

    Raises:
        UserError: Naming the first key that is no text, or all sections that are something else.
    """
    _require_text_keys(options, positions)
    sections = {key: options[key] for key in options if key in _SECTIONS or key.startswith('network_')}
    sections |= {f'datasets:{phase}': value for phase, value in section(options, 'datasets').items()}
    wrong = [Problem(key, f"is '{value}'") for key, value in sections.items() if not isinstance(value, dict | None)]
    if wrong:
        located = '; '.join(map(positions.locate, wrong))
        raise UserError(f'these must be sections of keys and values in the option file: {located}.')
    taken = [Problem(key, _LAUNCHER_SETS) for key in options if key in LAUNCHER]
    taken += [Problem(f'path:{key}', _LAUNCHER_SETS) for key in section(options, 'path') if key in LAUNCHER_PATHS]
    for phase, data_opt in section(options, 'datasets').items():
        for key in [key for key in data_opt or {} if key in LAUNCHER_DATASETS]:
            hint = ' It belongs in the top level.' if key == 'scale' else ''
            taken.append(Problem(f'datasets:{phase}:{key}', _LAUNCHER_SETS + hint))
    if taken:
        raise UserError('\n'.join(map(positions.locate, taken)))


def _require_text_keys(value: Any, positions: Positions, where: tuple[str, ...] = ()) -> None:
    """Check the keys of nested sections.

    Raises:
        UserError: Naming the first key that is not text.
    """
    if isinstance(value, dict):
        for key, element in value.items():
            if not isinstance(key, str):
                place = positions[(*where, str(key))]
                name = ':'.join((*where, repr(key)))
                raise UserError(
                    f"{f'{place}: ' if place else ''}{name}: a key of the option file must be text; quote it: '{key}'."
                )
            _require_text_keys(element, positions, (*where, key))
        return
    for element in value if isinstance(value, list) else ():
        _require_text_keys(element, positions, where)


def complete_paths(opt: dict, root: Path) -> None:
    """Put in the folders of a run, and where the files of ``path`` are, home folder and box included."""
    path_opt = opt['path'] = opt.get('path') or {}
    for key, value in path_opt.items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain_network' in key):
            path_opt[key] = str(from_box(_expanded(value)))
    ignored = path_opt.get('ignore_resume_networks')
    if isinstance(ignored, str):  # BasicSR looks for 'network_d' in it, which it would find in 'network_degrade'
        path_opt['ignore_resume_networks'] = [ignored]
    home = root / ('experiments' if opt['is_train'] else 'results') / str(opt.get('name'))
    path_opt.update(log=str(home), visualization=str(home / 'visualization'))
    if opt['is_train']:
        folders = {'models': str(home / 'models'), 'training_states': str(home / 'training_states')}
        path_opt.update(experiments_root=str(home), **folders)
    else:
        path_opt.update(results_root=str(home))


def _expanded(path: Any) -> Any:
    """A path, or each of a list, with the home folder for ``~``; what cannot be one is left to the check."""
    if isinstance(path, list):
        return [_expanded(one) for one in path]
    try:
        return str(Path(path).expanduser())
    except (RuntimeError, TypeError, ValueError):  # no such user; no text; a character that no path can have
        return path
