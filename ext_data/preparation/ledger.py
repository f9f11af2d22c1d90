"""What has been finished, on disk, so that an interrupted preparation continues where it stopped."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ext_data.preparation.images import writing


@dataclass(frozen=True)
class Record:
    """One finished pair.

    Args:
        key (str): Name of the pair.
        fingerprint (list[int]): Size and time of change of the source files.
        pieces (list[tuple[str, int, int]]): Output name without extension, height and width of its HR image in pixels.
        notes (list[str]): What had to be changed, each in a few words.
    """

    key: str
    fingerprint: list[int]
    pieces: list[tuple[str, int, int]]
    notes: list[str]


class Ledger:
    """Finished pairs of one output, one JSON line each, after a first line with the settings.

    Args:
        path (Path): The file; made if missing. A last line cut short by a crash is dropped.
        settings (dict): What the outputs depend on besides the source files.

    Raises:
        ValueError: If the file was written with other settings, so that old and new outputs would mix.
    """

    def __init__(self, path: Path, settings: dict[str, object]) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        lines: list[dict] = []
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            for text in path.read_text(encoding='utf-8').splitlines():
                lines.append(json.loads(text))
        if lines and lines[0] != settings:
            folders: Any = lines[0].get('folders', settings['folders'])
            made = ', '.join(str(path.parents[1] / f'{name}{end}') for end in ('', '.lmdb') for name in folders)
            raise ValueError(
                f'{path}: these outputs were prepared with other settings\n  then: {lines[0]}\n  now:  {settings}\n'
                f'Remedy: choose another --output, or delete this file and what was made: {made}.'
            )
        for line in lines[1:]:
            pieces = [tuple(piece) for piece in line['pieces']]
            self.records[line['key']] = Record(line['key'], line['fingerprint'], pieces, line['notes'])
        self._settings = settings
        self.rewrite()

    def rewrite(self) -> None:
        """Write the whole file anew, atomically: after records were removed, or after a crash cut its last line."""
        part = self.path.with_name(f'{self.path.name}.part')
        lines = [self._settings, *(asdict(record) for record in self.records.values())]
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(''.join(json.dumps(line) + '\n' for line in lines), encoding='utf-8')
            os.replace(part, self.path)

    def append(self, record: Record) -> None:
        """Remember a finished pair at once."""
        self.records[record.key] = record
        with writing(self.path), self.path.open('a', encoding='utf-8') as file:
            file.write(json.dumps(asdict(record)) + '\n')
