"""Checkpoints that survive a kill, load without running code, and carry the random state.

Plain functions without BasicSR: ``ext_core.compat.checkpoints`` puts them into BasicSR's models, the trainer uses them
directly.
"""

import contextlib
import hashlib
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import torch

from ext_core.errors import UserError, user_errors
from ext_models import weights


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
        """Both parts let other threads run meanwhile."""
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
        _flush_folder(target.parent)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as either
        raise UserError(
            f'{target} could not be written: {error}. Free disk space or make the folder writable; '
            'files saved earlier are complete.'
        ) from error
    finally:
        with contextlib.suppress(OSError):  # its folder may be none, which was said
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Bring the new name itself to the disk, so that files appear there in the order in which they were written."""
    with contextlib.suppress(OSError):  # systems and network shares that know no such thing
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
