"""Where each key of the options stands: file and line, through ``_base_``, overlays and the command line."""

from collections.abc import Mapping

from ext_core.options.merging import walk
from ext_core.options.problems import Problem

Path = tuple[str, ...]  # the keys from the top to a key, such as ('train', 'optim_g', 'lr')


class Positions:
    """File and line of each key, kept beside the options, which stay plain dictionaries.

    Args:
        file (str): Where missing top-level keys are missing from. Default: none is named.
        lines (Mapping[Path, int]): Lines of the file's keys, as ``ext_core.options.yaml_safe`` reads them.
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
        """Put the positions of ``own``, whose file holds ``options``, over these, as ``merging`` does with the
        options."""
        for path, value in walk(options):
            if not isinstance(value, dict) or value.get('_delete_'):
                self._forget(path)
        self._places.update(own._places)
        self.file = own.file

    def note_changes(self, before: dict, after: dict, place: str) -> None:
        """Name the place that changed the options, such as ``--force_yml train:total_iter=9``."""
        old = dict(walk(before))
        for path, value in walk(after):
            if isinstance(value, dict) and isinstance(old.get(path), dict):
                continue
            if path not in old or old[path] != value:
                self._forget(path)
                self._places[path] = place

    def locate(self, problem: Problem) -> str:
        """A problem with the place of its key in front."""
        place = self[tuple(problem.path.split(':'))] if problem.path else ''
        return f'{place}: {problem}' if place else str(problem)

    def _forget(self, path: Path) -> None:
        for known in [known for known in self._places if known[: len(path)] == path]:
            del self._places[known]
