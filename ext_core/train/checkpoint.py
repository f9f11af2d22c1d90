"""Checkpoints: what a state holds, and which ones are known to be whole.

What belongs to one saved iteration stands in its manifest, ``training_states/<iteration>.json``: the files with their
checksums. It is written when all of them are on the disk. So an iteration is whole if its manifest is there and agrees
with what it names; files of other iterations, damaged ones, and a checkpoint that was interrupted do not pass.
"""

import contextlib
import copy
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ext_core.atomic import Written, atomic_write_text, sum_of
from ext_core.errors import UserError

# Beside the manifest, or in a neighbouring folder: what a manifest names may be removed, so it must not lead elsewhere.
_FILE = re.compile(r'(\.\./[\w-][\w.-]*/)?[\w-][\w.-]*\.(pth|state)')


def on_cpu(value: Any) -> Any:
    """The same containers, class and attributes included, with their tensors on the CPU: what a checkpoint stores."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        new = copy.copy(value)  # with its attributes, such as the versions of modules in a network's state dict
        for key in new:
            new[key] = on_cpu(value[key])
        return new
    if type(value) in (list, tuple):
        return type(value)(on_cpu(element) for element in value)
    return value


def manifest_file(states: Path, iteration: int) -> Path:
    """The manifest of an iteration; ``states`` is the folder of the training states."""
    return states / f'{iteration}.json'


def write_manifest(states: Path, iteration: int, files: Mapping[Path, Written]) -> None:
    """Declare an iteration whole, when all of its files are on the disk.

    Args:
        states (Path): Folder of the training states.
        iteration (int): The iteration.
        files (Mapping[Path, Written]): State and weights, and what was written into them.

    Raises:
        UserError: If the manifest cannot be written.
    """
    entries = {
        Path(os.path.relpath(path, states)).as_posix(): {'bytes': written.bytes, 'sha256': written.sha256}
        for path, written in files.items()
    }
    text = json.dumps({'iter': iteration, 'files': entries}, indent=1)
    atomic_write_text(text + '\n', manifest_file(states, iteration))


def read_manifest(states: Path, iteration: int) -> dict[str, Written]:
    """The files that a manifest names, relative to ``states``.

    Raises:
        UserError: If it is missing, damaged, or not that of this iteration.
    """
    path = manifest_file(states, iteration)
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        files = {name: Written(int(entry['bytes']), str(entry['sha256'])) for name, entry in content['files'].items()}
        own = content['iter'] == iteration
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f'{path} cannot be read ({error}).') from error
    for name in files:
        if not _FILE.fullmatch(name):
            raise UserError(f"{path} names '{name}', which is no file of a checkpoint.")
        own = own and re.split(r'[_/]', name.rpartition('.')[0])[-1] == str(iteration)
    if not own or f'{iteration}.state' not in files:
        raise UserError(f'{path} names files that are not those of iteration {iteration}.')
    return files


def verify(states: Path, iteration: int, needed: Iterable[Path] = ()) -> None:
    """Compare an iteration with its manifest.

    Args:
        states (Path): Folder of the training states.
        iteration (int): The iteration.
        needed (Iterable[Path]): Files that the manifest has to name.

    Raises:
        UserError: If a file is missing, is not the one that was saved, or is not named.
    """
    files = read_manifest(states, iteration)
    for name, saved in files.items():
        path = states / name
        if not path.is_file():
            raise UserError(f'{_shown(path)} is missing.')
        found = path.stat().st_size
        if found != saved.bytes:
            raise UserError(f'{_shown(path)} has {found:,} bytes, but {saved.bytes:,} were saved.')
        if sum_of(path) != saved:
            raise UserError(f'{_shown(path)} is damaged, or of another iteration: its checksum is not the one saved.')
    known = {_shown(states / name) for name in files}
    for path in needed:
        if _shown(path) not in known:
            raise UserError(f'{_shown(path)} was not saved with this iteration: {iteration}.json does not name it.')


def _shown(path: Path) -> str:
    return os.path.normpath(path)


def remove_older(states: Path, keep: int, newest: int, in_use: Collection[Path] = ()) -> list[int]:
    """Remove the checkpoints that ``logger:keep_last`` does not keep.

    Only those with a manifest are counted and removed. The ``keep`` newest whole ones stay, whatever else there is.

    Args:
        states (Path): Folder of the training states.
        keep (int): How many whole checkpoints to leave, at least 1.
        newest (int): The iteration that was just saved; none from it on is removed.
        in_use (Collection[Path]): Files that must stay, and the rest of their iterations with them.

    Returns:
        list[int]: Iterations that were removed.

    Raises:
        UserError: If a file cannot be removed.
    """
    found: dict[int, dict[str, Written]] = {}
    whole = []
    for iteration in numbered(states, '.json'):
        with contextlib.suppress(UserError):  # else what it names is not known
            found[iteration] = read_manifest(states, iteration)
            paths = {states / name: saved.bytes for name, saved in found[iteration].items()}
            # sizes only, as checksums would take long to read
            if all(path.is_file() and path.stat().st_size == size for path, size in paths.items()):
                whole.append(iteration)
    if len(whole) < keep:
        return []
    used = {_shown(path.absolute()) for path in in_use}
    removed = []
    for iteration, files in found.items():
        mine = {_shown((states / name).absolute()) for name in files}
        if iteration >= min(whole[keep - 1], newest) or mine & used:
            continue
        # The state first: without it neither we nor BasicSR take what is left for a checkpoint, wherever the removal is
        # interrupted. The manifest last: it tells the next removal what is left to do.
        state, manifest = f'{iteration}.state', f'{iteration}.json'
        for name in (state, *(name for name in files if name != state), manifest):
            try:
                (states / name).unlink(missing_ok=True)
            except OSError as error:
                raise UserError(
                    f'logger:keep_last: {_shown(states / name)} could not be removed: {error}. Make its folder '
                    'writable, or remove keep_last; the newest checkpoint is complete.'
                ) from error
        removed.append(iteration)
    return removed


def numbered(states: Path, *suffixes: str) -> list[int]:
    """Iterations with a file of such a name, the newest first."""
    found = {int(path.stem) for path in states.glob('*') if path.suffix in suffixes and path.stem.isdecimal()}
    return sorted(found, reverse=True)
