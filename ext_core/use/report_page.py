"""The report as one HTML file that needs no other file and no network, and its curves as PNG files."""

import base64
import datetime
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from ext_core.atomic import atomic_write_bytes
from ext_core.use.experiments import Experiment, Plots, option_table
from ext_core.use.report_pictures import Picture
from ext_core.use.tables import template

POINTS = 5000  # of a curve, at most
_HERE = Path(__file__).parent
# Okabe and Ito's colours that colour-blind readers tell apart, and others
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7b3fa0', '#8c6d31', '#444444', '#a50f15')
_NOT_FINITE = {'nan': 'NaN', 'inf': 'Infinity', '-inf': '-Infinity'}  # which JSON has no numbers for
_COLUMNS = 3  # of a PNG file
_FEW = 40  # points, up to which each gets a mark


def looks(number: int) -> list[dict[str, Any]]:
    """Of the lines of each experiment, which repeat after the thirtieth: dash 0 is a full line, 1 dashed, 2 dotted."""
    ten = len(COLOURS)
    return [{'colour': COLOURS[index % ten], 'dash': index // ten % 3} for index in range(number)]


def page(
    experiments: Sequence[Experiment],
    groups: Mapping[str, Plots],
    pictures: Sequence[Picture],
    notes: Sequence[str],
    title: str,
) -> str:
    """The whole page: experiments in the order of the plots' numbers, plots by heading, pictures to compare, and notes
    below the summary. Every text on it is escaped."""
    plots = [curves for group in groups.values() for curves in group.values()]
    shown = looks(len(experiments))
    drawn = []
    for plot in plots:
        lines = []
        for number, curve in plot.items():
            points = list(curve.items())[::-1][:: -(-len(curve) // POINTS)][::-1]  # the last one always
            values = [value if math.isfinite(value) else _NOT_FINITE[str(value)] for _, value in points]
            lines.append({'experiment': number, 'steps': [step for step, _ in points], 'values': values})
        drawn.append(lines)
    if any(len(curve) > POINTS for plot in plots for curve in plot.values()):
        notes = [*notes, f'Curves of more than {POINTS} points are thinned evenly; tables are not.']
    data = {
        'experiments': [{'name': e.name, **look} for e, look in zip(experiments, shown, strict=True)],
        'plots': drawn,
        'pictures': [list(picture.crops.values()) for picture in pictures],
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    for character in '&<>':  # JSON must not end the script element it stands in
        text = text.replace(character, f'\\u{ord(character):04x}')

    scripts = [(_HERE / name).read_text(encoding='utf-8') for name in ('curves.js', 'compare.js')]
    # a Content-Security-Policy names the scripts that may run by their hashes
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    options = {experiment.name: experiment.options for experiment in experiments if experiment.options}
    lines_of_options = option_table(list(options.values()))
    figures = [experiment.figures() for experiment in experiments]
    numbers = iter(range(len(plots)))
    return template('page.html').render(
        title=title,
        rows=list(zip(experiments, figures, strict=True)),
        looks=shown,
        metrics=list(dict.fromkeys(name for row in figures for name in row)),
        notes=notes,
        groups={group: [(next(numbers), tag) for tag in members] for group, members in groups.items()},
        optioned=list(options),
        lines=lines_of_options,
        different=[(key, values) for key, values in lines_of_options if len(set(values)) > 1],
        pictures=pictures,
        duration=duration,
        number=lambda value: f'{value:.4f}' if 1e-3 <= abs(value) < 1e6 or value == 0 else f'{value:.4g}',
        # names, options and paths may go on in another line after some of their characters
        breakable=lambda text: Markup(re.sub(r'[_:/]', r'\g<0><wbr>', str(escape(text)))),
        style=Markup((_HERE / 'page.css').read_text(encoding='utf-8')),
        scripts=[Markup(script) for script in scripts],
        hashes=Markup(' '.join(f"'sha256-{digest}'" for digest in digests)),
        data=Markup(text),
    )


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds."""
    return '–' if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def write_plots(groups: Mapping[str, Plots], names: Sequence[str], folder: Path) -> list[Path]:
    """One PNG file for each group, a panel for each tag, experiments in the colours of the page; returns the files."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    def plain(text: str) -> str:
        """Without what matplotlib takes for a formula or for a label not to be shown."""
        return text.replace('$', r'\$').removeprefix('_') or '?'

    folder.mkdir(parents=True, exist_ok=True)
    shown: list[dict[str, Any]] = [
        {'color': look['colour'], 'linestyle': ('-', '--', ':')[look['dash']]} for look in looks(len(names))
    ]
    written = []
    for title, plots in groups.items():
        columns = min(_COLUMNS, len(plots))
        height = -(-len(plots) // columns)
        figure = Figure(figsize=(4.4 * columns, 3.0 * height + 0.5), layout='constrained')
        axes = figure.subplots(height, columns, squeeze=False)
        for axis in axes.flat[len(plots) :]:
            axis.set_visible(False)
        for axis, (tag, plot) in zip(axes.flat, plots.items(), strict=False):
            for number, curve in plot.items():
                marker = '.' if len(curve) <= _FEW else None
                axis.plot([*curve], [*curve.values()], **shown[number], linewidth=1, marker=marker, markersize=4)
            axis.set_title(plain(tag), fontsize=9)
            axis.set_xlabel('iteration', fontsize=8)
            axis.tick_params(labelsize=7)
        present = sorted({number for plot in plots.values() for number in plot})
        handles = [Line2D([], [], **shown[number], label=plain(names[number])) for number in present]
        figure.legend(handles=handles, loc='outside lower center', ncols=min(len(handles), columns), fontsize=7)
        figure.suptitle(title, fontsize=11)
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=130, format='png')
        written.append(folder / f'{re.sub(r"[^a-z]+", "_", title.lower())}.png')
        atomic_write_bytes(buffer.getvalue(), written[-1])
    return written
