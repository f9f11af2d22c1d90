"""Checkpoints that survive a kill, load without running code, carry the random state, and are known to be whole.

What belongs to one saved iteration stands in its manifest, ``training_states/<iteration>.json``: the files with their
checksums. It is written when all of them are on the disk. So an iteration is whole if its manifest is there and agrees
with what it names; files of other iterations, damaged ones, and a checkpoint that was interrupted do not pass.
"""

import contextlib
import copy
import hashlib
import json
import os
import random
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import torch

from ext_core.errors import UserError, user_errors
from ext_models import weights

# Beside the manifest, or in a neighbouring folder: what a manifest names may be removed, so it must not lead elsewhere.
_FILE = re.compile(r'(\.\./[\w-][\w.-]*/)?[\w-][\w.-]*\.(pth|state)')


class Written(NamedTuple):
    """What was written into a file: its size in bytes, and its SHA-256 in hexadecimal digits."""

    bytes: int
    sha256: str


def atomic_save(obj: Any, path: str | os.PathLike) -> Written:
    """``torch.save`` that leaves either the complete new file or what was there before.

    Args:
        obj (Any): What ``torch.save`` accepts. To be loadable again with ``load_checkpoint`` it may hold tensors,
            containers and plain Python scalars only: no NumPy scalar or array, no Path.
        path (str | PathLike): The file. Its folder must exist.

    Returns:
        Written: Size and checksum, taken while writing.

    Raises:
        UserError: If the file cannot be written (disk full, folder missing or not writable).
    """
    written = []

    def write(file: IO[bytes]) -> None:
        output = _Summed(file)
        try:
            torch.save(obj, cast(IO[bytes], output))
        except RuntimeError:
            if output.failure is None:
                raise
            raise output.failure from None  # such as 'No space left on device', of which torch.save does not tell
        written.append(output.sum())

    _replace_file(path, 'wb', write)
    return written[0]


class _Summed:
    """A file that is written from its beginning to its end, and summed on the way."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            count = self._file.write(data)
        except OSError as error:
            self.failure = error
            raise
        self._hash.update(data)
        self._size += count
        return count

    def flush(self) -> None:
        self._file.flush()

    def sum(self) -> Written:
        return Written(self._size, self._hash.hexdigest())


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


def sum_of(path: str | os.PathLike) -> Written:
    """Size and checksum of a file as it lies on the disk."""
    checksum, size = hashlib.sha256(), 0
    with open(path, 'rb') as file:
        while part := file.read(2**20):
            checksum.update(part)
            size += len(part)
    return Written(size, checksum.hexdigest())


def atomic_write_text(text: str, path: str | os.PathLike) -> None:
    """Write UTF-8 text as ``atomic_save`` writes objects.

    Args:
        text (str): Whole content of the file.
        path (str | PathLike): The file. Its folder must exist.

    Raises:
        UserError: If the file cannot be written.
    """
    _replace_file(path, 'w', lambda file: file.write(text))


def atomic_write_bytes(data: bytes, path: str | os.PathLike) -> None:
    """Write bytes as :func:`atomic_write_text` writes text."""
    _replace_file(path, 'wb', lambda file: file.write(data))


def _replace_file(path: str | os.PathLike, mode: str, write: Callable[[IO[Any]], object]) -> None:
    target = Path(path)
    # A dotfile, because BasicSR's scandir skips those; in the same folder, because a rename is atomic only within one
    # file system. With the number of the process, because another one may be writing the same file.
    temporary = target.with_name(f'.{target.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, mode, encoding=None if 'b' in mode else 'utf-8') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # else the rename can reach the disk before the content does
        os.replace(temporary, target)
        with contextlib.suppress(OSError):  # some systems and network shares cannot flush a folder
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the new name, too: files appear in the order in which they were written
            finally:
                os.close(folder)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as either
        raise UserError(
            f'{target} could not be written: {error}. Free disk space or make the folder writable; '
            'files saved earlier are complete.'
        ) from error
    finally:
        with contextlib.suppress(OSError):  # its folder may be none, which was said
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove the temporary files that killed processes left in a folder. No process may be writing there."""
    for path in Path(folder).glob('.*.tmp'):
        path.unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """:func:`ext_models.weights.load_checkpoint`.

    Raises:
        UserError: Where that raises ValueError or OSError.
    """
    with user_errors():
        return weights.load_checkpoint(path)


def rng_state() -> dict[str, Any]:
    """State of every random number generator a training draws from.

    Returns:
        dict[str, Any]: 'python', 'numpy', 'torch' and, where CUDA is available, 'cuda' (one tensor per device). Only
        types that ``torch.load(weights_only=True)`` accepts.
    """
    numpy_state: Any = np.random.get_state()  # noqa: NPY002, the generator that BasicSR draws from
    name, keys, position, has_gauss, cached = numpy_state
    state = {
        'python': random.getstate(),
        'numpy': (name, torch.from_numpy(keys.view(np.int32)), int(position), int(has_gauss), float(cached)),
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Restore what ``rng_state`` returned.

    Args:
        state (Mapping[str, Any]): Result of ``rng_state``, possibly from a machine with another number of CUDA devices;
            devices without a saved state keep theirs.
    """
    name, keys, position, has_gauss, cached = state['numpy']
    random.setstate(state['python'])
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state['torch'])
    if torch.cuda.is_available():
        for device, device_state in zip(range(torch.cuda.device_count()), state.get('cuda', []), strict=False):
            torch.cuda.set_rng_state(device_state, device)


# ---------------------------------------------------------------------- manifests
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
