"""A checkout of BasicSR that an export changes, and that it must not harm.

What was written is noted with its checksum inside ``.git``, where no commit takes it along: so a second export knows
its own files, even before they are committed, from those of others.
"""

import contextlib
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from ext_core.errors import UserError
from ext_core.saving.checkpoint import atomic_write_bytes

NOTES = 'basicsr_ext_export.json'
LINE_OF_VERSIONS = re.compile(r'1\.4\.\d+')


class Checkout:
    """A clone of BasicSR, 1.4.x.

    Args:
        folder (Path): Its top.

    Raises:
        UserError: If it is something else.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        _require_basicsr(self.folder)
        top = self._git('rev-parse', '--show-toplevel', wrong='is no git repository: clone BasicSR, and name the clone')
        if Path(top).resolve() != self.folder:
            raise UserError(f'{folder} is inside the git repository {top}. Name the top of a clone of BasicSR.')
        self._notes = self.folder / self._git('rev-parse', '--git-path', NOTES)
        self.written = self._read_notes()

    def _git(self, *arguments: str, wrong: str = 'cannot be read by git') -> str:
        try:
            done = subprocess.run(
                ['git', '-C', str(self.folder), *arguments], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise UserError(f'git cannot be started: {error}. Install it.') from error
        if done.returncode:
            raise UserError(f'{self.folder} {wrong}. git said: {done.stderr.strip()}')
        return done.stdout.rstrip('\n')

    def _read_notes(self) -> dict[str, str]:
        try:
            notes = json.loads(self._notes.read_text(encoding='utf-8'))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UserError(
                f'{self._notes} cannot be read: {error}. Remove it, and commit or undo all changes.'
            ) from error
        return {str(name): str(checksum) for name, checksum in notes.items()}

    # ------------------------------------------------------------------ what is there
    def read(self, name: str) -> bytes | None:
        """Content of a file, or None.

        Raises:
            UserError: If it is a folder or a link, or stands behind one that leads out of the checkout.
        """
        path = self.folder / name
        if path.is_symlink() or not path.resolve().is_relative_to(self.folder) or path.is_dir():
            raise UserError(f'{path} is a link or a folder, where the export would write a file. Remove it.')
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def is_ours(self, name: str) -> bool:
        """Whether a file is as an export left it."""
        content = self.read(name)
        return content is not None and self.written.get(name) == checksum(content)

    def require_clean(self) -> None:
        """Refuse changes that are not committed, but for our own.

        Raises:
            UserError: If there are any.
        """
        listed = self._git('status', '--porcelain', '-z', '--untracked-files=all', '--no-renames').split('\0')
        changed = [entry[3:] for entry in listed if entry]
        foreign = [name for name in changed if name not in self.written or not self.is_ours(name)]
        if foreign:
            raise UserError(
                f'{self.folder} has changes that are not committed: {_some(foreign)}. Commit or undo them first.'
            )

    def require_free(self, content: Mapping[str, bytes], overwrite: bool) -> None:
        """Refuse to replace a file that an export did not write, or that was changed since.

        Args:
            content (Mapping[str, bytes]): Files that the export would add.
            overwrite (bool): Files that were changed since may be replaced. They are committed, so nothing is lost.

        Raises:
            UserError: If there are such files.
        """
        others = [
            name for name, new in content.items() if self.read(name) not in (None, new) and not self.is_ours(name)
        ]
        foreign = [name for name in others if name not in self.written]
        if foreign:
            raise UserError(
                f'{self.folder} has files of these names that are not of an export: {_some(foreign)}. They are never '
                'overwritten: rename ours, or remove them in a commit of their own.'
            )
        if others and not overwrite:
            raise UserError(
                f'{self.folder}: changed since the last export: {_some(others)}. Take the changes over into this '
                'project, or replace the files with --overwrite.'
            )

    # ------------------------------------------------------------------ writing
    def write(self, content: Mapping[str, bytes]) -> None:
        """Write files, all or none, and note what was written.

        Args:
            content (Mapping[str, bytes]): By their names. Folders are made.

        Raises:
            UserError: If one cannot be written; then all are as before.
        """
        before = {name: self.read(name) for name in content}
        with self._undone_on_failure(before):
            for name, new in content.items():
                if before[name] != new:
                    path = self.folder / name
                    try:
                        path.parent.mkdir(parents=True, exist_ok=True)
                    except OSError as error:
                        raise UserError(f'{path.parent} cannot be made: {error}.') from error
                    atomic_write_bytes(new, path)
            self.written = self.written | {name: checksum(new) for name, new in content.items()}
            atomic_write_bytes((json.dumps(self.written, indent=1, sort_keys=True) + '\n').encode(), self._notes)

    @contextlib.contextmanager
    def _undone_on_failure(self, before: Mapping[str, bytes | None]) -> Iterator[None]:
        missing = {folder for name in before for folder in (self.folder / name).parents if not folder.exists()}
        try:
            yield
        except BaseException:
            for name, old in before.items():
                path = self.folder / name
                if old is None:
                    path.unlink(missing_ok=True)
                elif path.read_bytes() != old:
                    atomic_write_bytes(old, path)
            for folder in sorted(missing, reverse=True):  # the innermost first
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise


def checksum(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _require_basicsr(folder: Path) -> None:
    setup = folder / 'setup.py'
    named = setup.is_file() and re.search(
        r"""name=['"]basicsr['"]""", setup.read_text(encoding='utf-8', errors='replace')
    )
    if not named or not (folder / 'basicsr' / 'train.py').is_file():
        raise UserError(
            f"{folder} is no source tree of BasicSR: it needs basicsr/train.py, and a setup.py that names 'basicsr'. "
            'Get one: git clone https://github.com/XPixelGroup/BasicSR'
        )
    file = folder / 'VERSION'
    version = file.read_text(encoding='utf-8', errors='replace').strip() if file.is_file() else 'unknown'
    if not LINE_OF_VERSIONS.fullmatch(version):
        raise UserError(f'{folder} holds BasicSR {version} (its file VERSION), but the export is made for 1.4.x.')


def _some(names: list[str], limit: int = 5) -> str:
    return ', '.join(names[:limit]) + (f' and {len(names) - limit} more' if len(names) > limit else '')
