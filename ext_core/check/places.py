"""Files that a run reads beside its images, folders that it writes, and packages that it was asked to use."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from ext_core.check.hints import did_you_mean, section


def problems(opt: dict, is_train: bool) -> Iterator[str]:
    """Missing weights and states, folders that cannot be written, loggers that are not installed."""
    for key, value in section(opt, 'path').items():
        if value is not None and (str(key).startswith('pretrain_network') or key == 'resume_state'):
            yield from _file(f'path:{key}', value)
            if is_train and isinstance(value, str) and key != 'resume_state':
                yield from _moved_away(opt, key, value)
    if isinstance(opt.get('name'), str):
        yield from _unwritable(opt, is_train)
    if is_train:
        yield from _loggers(opt)


def _file(where: str, value: object) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where} must be the path of a file, but is '{value}'."
        return
    path = Path(value)
    if path.is_dir():
        yield f'{where}: {path} is a folder. Name the file in it.'
    elif not path.is_file():
        yield f'{where}: file not found: {path}.{nearby(path)} Correct the path, or write ~ for none.'


def _moved_away(opt: dict, key: str, value: str) -> Iterator[str]:
    """Weights in the folder that a fresh run of this name moves to an archive before it loads them."""
    home = Path(str(opt.get('root_path', '.')), 'experiments', str(opt.get('name'))).resolve()
    resumed = opt.get('auto_resume') or section(opt, 'path').get('resume_state')
    if not resumed and home in Path(value).resolve().parents:
        yield (
            f'path:{key}: {value} is in the folder of this experiment, which a new run moves to an archive first. '
            'Continue with --auto_resume, or give this run another name.'
        )


def nearby(path: Path) -> str:
    """For a path that does not exist: a similar name beside it, or where relative paths start."""
    if path.parent.is_dir():
        hint = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
        if hint:
            return hint
    return '' if path.is_absolute() else f' Relative paths start at {Path.cwd()}.'


def _unwritable(opt: dict, is_train: bool) -> Iterator[str]:
    root = Path(str(opt.get('root_path', '.')))
    folders = [root / ('experiments' if is_train else 'results') / opt['name']]
    if is_train and section(opt, 'logger').get('use_tb_logger') and 'debug' not in opt['name']:
        folders.append(root / 'tb_logger' / opt['name'])
    for folder in folders:
        existing = next(place for place in (folder, *folder.resolve().parents) if place.exists())
        if not existing.is_dir():
            yield f'{existing} is a file, but a folder of this name is needed to write results. Move it away.'
        elif not os.access(existing, os.W_OK | os.X_OK):
            yield f'{existing} is not writable, so {folder} cannot be made. Change its permissions.'


def _loggers(opt: dict) -> Iterator[str]:
    logger = section(opt, 'logger')
    if logger.get('use_tb_logger') and importlib.util.find_spec('tensorboard') is None:
        yield (
            'logger:use_tb_logger is true, but TensorBoard is not installed. Install it with: pip install '
            'tensorboard, or set it to false.'
        )
    if logger.get('wandb') is not None and not isinstance(logger['wandb'], dict):
        yield f"logger:wandb must be a section with project and resume_id, but is '{logger['wandb']}'."
    if section(logger, 'wandb').get('project') is not None and 'debug' not in str(opt.get('name')):
        if not logger.get('use_tb_logger'):
            yield 'logger:wandb:project needs logger:use_tb_logger: true. Set that, or project: ~.'
        if importlib.util.find_spec('wandb') is None:
            yield (
                'logger:wandb:project is given, but wandb is not installed. Install it with: pip install wandb, or '
                'set project: ~.'
            )
