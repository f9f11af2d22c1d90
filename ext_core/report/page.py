"""The report as one HTML file that needs no other file and no network."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ext_core.report import option_table
from ext_core.report.groups import Plot
from ext_core.report.pictures import Picture
from ext_core.report.summary import Row, duration, metric_names
from ext_core.saving.resume import Curve

POINTS = 5000  # of a curve, at most
_HERE = Path(__file__).parent
_SCRIPTS = ('curves.js', 'compare.js')
# Okabe and Ito's colours that colour-blind readers tell apart, and others
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7b3fa0', '#8c6d31', '#444444', '#a50f15')


@dataclass(frozen=True)
class Look:
    """How an experiment's lines are drawn.

    Args:
        colour (str): #rrggbb.
        dash (int): 0: a full line; 1: dashed; 2: dotted.
    """

    colour: str
    dash: int


def looks(number: int) -> list[Look]:
    """One for each experiment; they repeat after the thirtieth."""
    return [Look(COLOURS[index % len(COLOURS)], index // len(COLOURS) % 3) for index in range(number)]


def page(
    rows: Sequence[Row],
    groups: Mapping[str, Sequence[Plot]],
    pictures: Sequence[Picture],
    notes: Sequence[str],
    title: str,
) -> str:
    """The whole page; every text on it is escaped.

    Args:
        rows (Sequence[Row]): The experiments in the order of the plots' numbers.
        groups (Mapping[str, Sequence[Plot]]): By heading.
        pictures (Sequence[Picture]): What can be compared.
        notes (Sequence[str]): Sentences below the summary.
        title (str): Its heading.
    """
    environment = Environment(  # autoescape, since names of experiments may be anything
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    plots = [plot for group in groups.values() for plot in group]
    numbers = iter(range(len(plots)))
    scripts = [(_HERE / name).read_text(encoding='utf-8') for name in _SCRIPTS]
    options = {row.experiment.name: row.experiment.options for row in rows if row.experiment.options}
    lines = option_table.table(list(options.values()))
    shown = looks(len(rows))
    return environment.get_template('page.html').render(
        title=title,
        rows=rows,
        looks=shown,
        metrics=metric_names(rows),
        notes=[*notes, *_thinned(plots)],
        groups={group: [(next(numbers), plot.tag) for plot in members] for group, members in groups.items()},
        optioned=list(options),
        lines=lines,
        different=option_table.differing(lines),
        pictures=pictures,
        duration=duration,
        number=_number,
        breakable=_breakable,
        style=Markup((_HERE / 'page.css').read_text(encoding='utf-8')),
        scripts=[Markup(script) for script in scripts],
        hashes=Markup(' '.join(map(_hash, scripts))),
        data=Markup(_json(_data(rows, shown, plots, pictures))),
    )


def _number(value: float) -> str:
    return f'{value:.4f}' if 1e-3 <= abs(value) < 1e6 or value == 0 else f'{value:.4g}'


def _breakable(text: str) -> Markup:
    """Names, options and paths, which may go on in another line after some of their characters."""
    return Markup(re.sub(r'[_:/]', r'\g<0><wbr>', str(escape(text))))


def _hash(script: str) -> str:
    """How a Content-Security-Policy names the one script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


# ---------------------------------------------------------------------- data of the scripts
def _data(
    rows: Sequence[Row], shown: Sequence[Look], plots: Sequence[Plot], pictures: Sequence[Picture]
) -> dict[str, Any]:
    names = [row.experiment.name for row in rows]
    return {
        'experiments': [{'name': name, **asdict(look)} for name, look in zip(names, shown, strict=True)],
        'plots': [[_curve(number, curve) for number, curve in plot.curves.items()] for plot in plots],
        'pictures': [list(picture.crops.values()) for picture in pictures],
    }


def _curve(number: int, curve: Curve) -> dict[str, Any]:
    points = list(curve.items())
    stride = -(-len(points) // POINTS)
    kept = points[::-1][::stride][::-1]  # the last one always
    values = [value if math.isfinite(value) else _WORDS[str(value)] for _, value in kept]
    return {'experiment': number, 'steps': [step for step, _ in kept], 'values': values}


_WORDS = {'nan': 'NaN', 'inf': 'Infinity', '-inf': '-Infinity'}  # which JSON has no numbers for


def _thinned(plots: Sequence[Plot]) -> list[str]:
    longest = max((len(curve) for plot in plots for curve in plot.curves.values()), default=0)
    return [f'Curves of more than {POINTS} points are thinned evenly; tables are not.'] if longest > POINTS else []


def _json(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    return text.replace('&', '\\u0026').replace('<', '\\u003c').replace('>', '\\u003e')
