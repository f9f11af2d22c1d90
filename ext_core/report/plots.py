"""Curves as PNG files: one for each heading of the page."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ext_core.report.groups import Plot
from ext_core.report.page import looks
from ext_core.saving.checkpoint import atomic_write_bytes

_COLUMNS = 3
_STYLES = ('-', '--', ':')
_FEW = 40  # points, up to which each gets a mark


def write_plots(groups: Mapping[str, Sequence[Plot]], names: Sequence[str], folder: Path) -> list[Path]:
    """One file for each group, a panel for each tag, experiments in the colours of the page; returns the files.

    Args:
        groups (Mapping[str, Sequence[Plot]]): By heading.
        names (Sequence[str]): Of the experiments.
        folder (Path): Made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for title, plots in groups.items():
        path = folder / f'{re.sub(r"[^a-z]+", "_", title.lower())}.png'
        atomic_write_bytes(_png(title, plots, names), path)
        written.append(path)
    return written


def _png(title: str, plots: Sequence[Plot], names: Sequence[str]) -> bytes:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    columns = min(_COLUMNS, len(plots))
    height, width = -(-len(plots) // columns), columns
    figure, axes = plt.subplots(
        height, width, squeeze=False, figsize=(4.4 * width, 3.0 * height + 0.5), layout='constrained'
    )
    shown: list[dict[str, Any]] = [
        {'color': look.colour, 'linestyle': _STYLES[look.dash]} for look in looks(len(names))
    ]
    for axis in axes.flat[len(plots) :]:
        axis.set_visible(False)
    for axis, plot in zip(axes.flat, plots, strict=False):
        for number, curve in plot.curves.items():
            marker = '.' if len(curve) <= _FEW else None
            axis.plot([*curve], [*curve.values()], **shown[number], linewidth=1, marker=marker, markersize=4)
        axis.set_title(_plain(plot.tag), fontsize=9)
        axis.set_xlabel('iteration', fontsize=8)
        axis.tick_params(labelsize=7)
    present = sorted({number for plot in plots for number in plot.curves})
    handles = [Line2D([], [], **shown[number], label=_plain(names[number])) for number in present]
    figure.legend(handles=handles, loc='outside lower center', ncols=min(len(handles), columns), fontsize=7)
    figure.suptitle(title, fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format='png')
    plt.close(figure)
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Without what matplotlib takes for a formula or for a label not to be shown."""
    return text.replace('$', r'\$').removeprefix('_') or '?'
