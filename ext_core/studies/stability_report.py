"""The figures of :mod:`ext_core.studies.stability` side by side: over seeds, as table and plot.

A row is one run's figures with ``recipe`` and ``seed``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ext_core.studies.report import AS_IS, Row, summarise, table_text
from ext_core.studies.stability import Course, Curve, Curves, gradient_curve, output_gap, psnr_curves

_OTHERS = ('recipe', 'seed', 'diverged', 'diverged_at', 'reason', 'iterations', 'seconds', 'options')  # no figures


@dataclass
class Line:
    """One run in the plot."""

    recipe: str
    curves: Curves
    course: Course
    diverged_at: int | None


def over_seeds(rows: Sequence[Row]) -> list[Row]:
    """For each recipe its seeds, how many ``diverged``, their share (``divergence_rate``), and the ``figures``.

    A figure has ``mean``, ``std`` (of the sample; None for one value) and ``values``, of the runs that have it.
    """
    names = list(dict.fromkeys(key for row in rows for key in row if key not in _OTHERS))
    entries = summarise([{**row, 'set': '', 'setting': AS_IS} for row in rows], names)
    summary = []
    for entry in entries:
        diverged = sum(row['recipe'] == entry['recipe'] and row['diverged'] == 'yes' for row in rows)
        rate = diverged / len(entry['seeds'])
        summary.append({'recipe': entry['recipe'], 'seeds': entry['seeds'], 'diverged': diverged})
        summary[-1] |= {'divergence_rate': rate, 'figures': entry['metrics']}
    return summary


def markdown(summary: Sequence[Row]) -> str:
    """A line for each figure, a column for each recipe: mean ± standard deviation over seeds.

    Where only some of the seeds have the figure, their number follows.
    """
    names = list(dict.fromkeys(name for entry in summary for name in entry['figures']))
    lines = [['', *(entry['recipe'] for entry in summary)]]
    lines.append(['diverged', *(f'{entry["diverged"]} of {len(entry["seeds"])}' for entry in summary)])
    lines += [[name, *(_cell(entry['figures'].get(name), len(entry['seeds'])) for entry in summary)] for name in names]
    return table_text(lines)


def _cell(value: Row | None, seeds: int) -> str:
    if value is None:
        return '–'
    text = f'{value["mean"]:.4g}' + ('' if value['std'] is None else f' ± {value["std"]:.2g}')
    return text if len(value['values']) == seeds else f'{text} ({len(value["values"])})'


# ---------------------------------------------------------------------- plot
def plot(lines: Sequence[Line], path: Path) -> None:
    """A panel each for the PSNR of every validation set, ``grad_gan`` and the gap of the discriminator's outputs.

    A recipe is a colour, a seed a thin line, their mean a thick one, up to where the first of them ends. A cross is
    where a run diverged. Without any curve nothing is written.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    panels = _panels(lines)
    if not panels:
        return
    recipes = list(dict.fromkeys(line.recipe for line in lines))
    figure, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(4.2 * len(panels), 3.4), layout='constrained')
    for axis, (title, curve_of) in zip(axes[0], panels.items(), strict=True):
        for index, recipe in enumerate(recipes):
            of_recipe = [line for line in lines if line.recipe == recipe]
            _draw(axis, [(line, curve_of(line)) for line in of_recipe], f'C{index % 10}', recipe)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel('iteration', fontsize=8)
        axis.tick_params(labelsize=7)
        if title.startswith('grad_gan'):
            axis.set_yscale('log')
    handles = {label: h for axis in axes[0] for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    axes[0][0].legend(handles.values(), handles.keys(), fontsize=7)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panels(lines: Sequence[Line]) -> dict[str, Callable[[Line], Curve]]:
    """What is drawn of a run in each panel that shows anything, by title."""
    sets = dict.fromkeys(name for line in lines for name in psnr_curves(line.curves, line.course))
    panels: dict[str, Callable[[Line], Curve]] = {
        f'validation PSNR on {name}, dB': partial(_psnr_on, name) for name in sets
    }
    panels['grad_gan: gradient norm at the images'] = lambda line: gradient_curve(line.curves, line.course)
    panels["discriminator's output, real minus generated"] = lambda line: output_gap(line.curves)
    return {title: curve_of for title, curve_of in panels.items() if any(map(curve_of, lines))}


def _psnr_on(name: str, line: Line) -> Curve:
    return psnr_curves(line.curves, line.course).get(name, {})


def _draw(axis: Any, runs: Iterable[tuple[Line, Curve]], colour: str, label: str) -> None:
    drawn = [(line, curve) for line, curve in runs if curve]
    marker = '.' if drawn and min(len(curve) for _, curve in drawn) < 3 else None  # a line of one point is invisible
    for line, curve in drawn:
        axis.plot([*curve], [*curve.values()], color=colour, linewidth=0.7, alpha=0.5, marker=marker)
        before = [step for step in curve if line.diverged_at is not None and step <= line.diverged_at]
        if before:
            axis.plot(before[-1], curve[before[-1]], 'x', color=colour, markersize=7)
    common = sorted(set.intersection(*(set(curve) for _, curve in drawn))) if drawn else []
    if common:
        means = [sum(curve[step] for _, curve in drawn) / len(drawn) for step in common]
        axis.plot(common, means, color=colour, linewidth=1.8, marker=marker, label=label)
