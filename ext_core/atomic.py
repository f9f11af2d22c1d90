"""Files that are either complete and new, or what was there before, whatever happens while they are written."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from ext_core.errors import UserError


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
    import torch

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


def sum_of(path: str | os.PathLike) -> Written:
    """Size and checksum of a file as it lies on the disk."""
    checksum, size = hashlib.sha256(), 0
    with open(path, 'rb') as file:
        while part := file.read(2**20):
            checksum.update(part)
            size += len(part)
    return Written(size, checksum.hexdigest())


def atomic_write_text(text: str, path: str | os.PathLike) -> None:
    """Write UTF-8 text, the whole content of a file, as :func:`atomic_save` writes objects."""
    _replace_file(path, 'w', lambda file: file.write(text))


def atomic_write_bytes(data: bytes, path: str | os.PathLike) -> None:
    """Write bytes as :func:`atomic_write_text` writes text."""
    _replace_file(path, 'wb', lambda file: file.write(data))


def _replace_file(path: str | os.PathLike, mode: str, write: Callable[[IO[Any]], object]) -> None:
    target = Path(path)
    # A dotfile, because BasicSR's scandir skips those; in the same folder, because a rename is atomic only within one
    # file system. With the number that the system gives the thread, because another one, of any process, may be writing
    # the same file; with the beginning of the name only, because a name may have 255 bytes.
    temporary = target.with_name(f'.{target.name[:40]}.{threading.get_native_id()}.tmp')
    try:
        if target.exists() and not target.is_file():  # the rename below would replace a device
            raise UserError(f'{target} is a folder or a device, not a file. Name another one.')
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
            f'{target} could not be written: {error}. Free disk space, make the folder writable or take another name; '
            'files saved earlier are complete.'
        ) from error
    finally:
        with contextlib.suppress(OSError):  # its folder may be none, which was said
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove the temporary files that killed processes left in a folder. No process may be writing there."""
    for path in Path(folder).glob('.*.tmp'):
        path.unlink(missing_ok=True)
