"""Rows of results as CSV and as a table in Markdown; the templates of pages."""

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ext_core.atomic import atomic_write_text
from ext_models.registries import look_up

Row = dict[str, Any]


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None if there is none."""
    kept = [value for value in values if value is not None]
    return statistics.fmean(kept) if kept else None


def lower_is_better(options: Mapping[str, Any]) -> bool:
    """Of a metric of ``val:metrics``: what its options say, else the metric itself."""
    from basicsr.utils.registry import METRIC_REGISTRY

    metric = look_up(METRIC_REGISTRY, options.get('type'))
    return options.get('better', getattr(metric, 'better', 'higher')) == 'lower'


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """All rows, with the columns of all; a file that is there is replaced as a whole."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    atomic_write_text(text.getvalue(), path)


def table_text(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first line is its head."""
    head, *body = lines
    return '\n'.join(f'| {" | ".join(line)} |' for line in [head, ['---'] * len(head), *body])


def template(name: str) -> Template:
    """A page of this folder. What is put into it is escaped, since names of experiments may be anything."""
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return pages.get_template(name)
