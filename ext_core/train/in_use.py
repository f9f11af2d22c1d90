"""A folder belongs to one run at a time."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ext_core.errors import UserError

_FAR = 1 << 30  # Windows lets nobody read what is locked, so a byte behind the text is


@contextlib.contextmanager
def in_use(*folders: Path) -> Iterator[None]:
    """Claim folders for this process. What they hold may be moved away meanwhile.

    Each has a file ``.NAME.lock`` beside it with the number of the process, locked by the system: the lock goes when
    the process ends, however it ends. Of POSIX's two kinds it is the one that forked processes do not inherit, since
    workers live on for some seconds where their process is killed.

    Args:
        folders (Path): Folders, which need not be there yet.

    Raises:
        UserError: If another process has one of them, or the folder around it cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.enter_context(_claimed(folder))
        yield


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    path = folder.with_name(f'.{folder.name}.lock')
    while True:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f'{path} cannot be made: {error}. Mend its folder, or choose another name.') from error
        try:
            free = _lock(file)
            if not free:
                holder = os.pread(file, 20, 0).decode(errors='replace') if hasattr(os, 'pread') else path.read_text()
                raise UserError(
                    f'{folder} is in use by process {holder.strip() or "?"}: another run of this name is going on. '
                    'Give this one another name, wait for the other one to end, or stop it.'
                )
            if os.path.samestat(os.fstat(file), path.stat()):
                break
        except FileNotFoundError:
            pass  # the former holder has just removed it
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    os.truncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file, and one that is left does not matter
            path.unlink()
        os.close(file)


def _lock(file: int) -> bool:
    """Whether no other process has the lock; True where the file system has none, as some network shares."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        os.lseek(file, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        os.lseek(file, 0, os.SEEK_SET)
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, by the system
        return False
    except OSError:
        return True
    return True
