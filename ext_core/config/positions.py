"""Where each key of the options stands: file and line, through ``_base_``, overlays and the command line."""

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]  # the keys from the top to a key, such as ('train', 'optim_g', 'lr')


class Positions:
    """Places of keys, kept beside the options, which stay what BasicSR gets.

    Args:
        file (str): Where missing top-level keys are missing from. Default: none is named.
        lines (Mapping[Path, int]): Lines of the file's keys, as ``ext_core.config.yaml_safe`` reads them.
    """

    def __init__(self, file: str = '', lines: Mapping[Path, int] | None = None):
        self.file = file
        self.files = 0  # read so far
        self._places = {path: f'{file}:{line}' for path, line in (lines or {}).items()}

    def __getitem__(self, path: Path) -> str:
        """The place of a key, or of the innermost section around it that stands somewhere, or the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._places:
                return self._places[path[:length]]
        return self.file

    def lay_over(self, own: 'Positions', options: dict) -> None:
        """What ``ext_core.config.merging`` does to the options: the places of ``own``, whose file holds ``options``."""
        for path, value in _walk(options):
            if not isinstance(value, dict) or value.get('_delete_'):
                self._forget(path)
        self._places.update(own._places)
        self.file = own.file

    def note_changes(self, before: dict, after: dict, place: str) -> None:
        """Name the place that changed the options, such as ``--force_yml train:total_iter=9``."""
        old = dict(_walk(before))
        for path, value in _walk(after):
            if isinstance(value, dict) and isinstance(old.get(path), dict):
                continue
            if path not in old or old[path] != value:
                self._forget(path)
                self._places[path] = place

    def locate(self, problem: str) -> str:
        """A problem with its place in front, found by the colon path with which it begins."""
        path: Path = ()
        for known in self._places:
            name = ':'.join(known)
            ends = problem[len(name) : len(name) + 1]
            if problem.startswith(name) and not (ends.isalnum() or ends in ('_', '/', '.')) and len(known) > len(path):
                path = known
        place = self[path] if path or ' is missing' in problem or ' unknown ' in problem else ''
        return f'{place}: {problem}' if place else problem

    def _forget(self, path: Path) -> None:
        for known in [known for known in self._places if known[: len(path)] == path]:
            del self._places[known]


def _walk(options: dict, above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """All keys with their values, sections before what is in them."""
    for key, value in options.items():
        path = (*above, str(key))
        yield path, value
        if isinstance(value, dict):
            yield from _walk(value, path)
