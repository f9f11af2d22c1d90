"""Results of a study as CSV, table and plot.

A row is a dictionary with the keys ``recipe``, ``setting``, ``seed``, ``set``, one for each metric, and any others.
"""

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ext_core.saving.checkpoint import atomic_write_text

BASELINE = 'no_mask'  # the setting that others are compared with
AS_IS = 'as_is'  # the setting of recipes that are compared with one another
Row = dict[str, Any]


def mean(values: Iterable[float | None]) -> float | None:
    """Of the values that are there; None where there is none."""
    kept = [value for value in values if value is not None]
    return statistics.fmean(kept) if kept else None


def lower_is_better(options: Mapping[str, Any]) -> bool:
    """Of a metric, as BasicSR's validation takes it."""
    return options.get('better', 'higher') == 'lower'


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


def summarise(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Over seeds, for each set, recipe and setting, in the order of the rows.

    ``entry['metrics'][metric]`` has ``mean``, ``std`` (of the sample; None for one value) and the ``values``. A metric
    without any value is missing.
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault((row['set'], row['recipe'], row['setting']), []).append(row)
    sets = list(dict.fromkeys(row['set'] for row in rows))
    summary = []
    for (set_name, recipe, setting), members in sorted(groups.items(), key=lambda item: sets.index(item[0][0])):
        entry: Row = {'set': set_name, 'recipe': recipe, 'setting': setting}
        entry |= {'b': members[0].get('b'), 'seeds': [row['seed'] for row in members], 'metrics': {}}
        for metric in metrics:
            values = [row[metric] for row in members if row.get(metric) is not None]
            if values:
                std = statistics.stdev(values) if len(values) > 1 else None
                entry['metrics'][metric] = {'mean': statistics.fmean(values), 'std': std, 'values': values}
        summary.append(entry)
    return summary


def markdown(summary: Sequence[Row], metrics: Sequence[str]) -> str:
    """A table of mean ± standard deviation over seeds."""
    metrics = [metric for metric in metrics if any(metric in entry['metrics'] for entry in summary)]
    head = ['set', 'recipe', 'setting', 'seeds', *metrics]
    lines = [head]
    for entry in summary:
        cells = [_cell(entry['metrics'].get(metric)) for metric in metrics]
        lines.append([entry['set'], entry['recipe'], entry['setting'], str(len(entry['seeds'])), *cells])
    return table_text(lines)


def _cell(value: Row | None) -> str:
    if value is None:
        return '–'
    return f'{value["mean"]:.4f}' + ('' if value['std'] is None else f' ± {value["std"]:.4f}')


def against_baseline(summary: Sequence[Row], metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each set and recipe that has a baseline: how many settings are at least as good, by the mean."""
    sentences = []
    for baseline in (entry for entry in summary if entry['setting'] == BASELINE):
        counts = []
        others = [e for e in summary if e is not baseline and all(e[key] == baseline[key] for key in ('set', 'recipe'))]
        for metric, options in metrics.items():
            sign = -1 if lower_is_better(options) else 1
            means = [sign * e['metrics'][metric]['mean'] for e in (baseline, *others) if metric in e['metrics']]
            if metric in baseline['metrics'] and len(means) > 1:
                counts.append(f'{metric} {sum(value >= means[0] for value in means[1:])} of {len(means) - 1}')
        if counts:
            sentences.append(
                f'{baseline["set"]}, {baseline["recipe"]}: settings at least as good as without mask: '
                f'{", ".join(counts)}'
            )
    return sentences


# ---------------------------------------------------------------------- plot
def plot(summary: Sequence[Row], metrics: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """A panel for each metric and set: lines against b where b varies, else a point for each setting.

    Error bars are standard deviations over seeds; the baseline is a band.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    metrics = {name: value for name, value in metrics.items() if any(name in entry['metrics'] for entry in summary)}
    if not metrics:
        return
    against_b = len({entry['b'] for entry in summary if entry['setting'] != AS_IS} - {None}) > 1
    key = ('set', 'recipe') if against_b else ('set',)
    groups: dict[tuple, list[Row]] = {}
    for entry in summary:
        groups.setdefault(tuple(entry[name] for name in key), []).append(entry)
    figure, axes = plt.subplots(
        len(groups), len(metrics), squeeze=False, figsize=(3.6 * len(metrics), 3.0 * len(groups)), layout='constrained'
    )
    for row, (group, entries) in zip(axes, groups.items(), strict=True):
        for axis, (metric, options) in zip(row, metrics.items(), strict=True):
            shown = [entry for entry in entries if metric in entry['metrics']]
            (_against_b if against_b else _by_setting)(axis, shown, metric)
            arrow = '↓' if lower_is_better(options) else '↑'
            axis.set_title(f'{", ".join(group)}: {metric} {arrow}', fontsize=8)
            axis.tick_params(labelsize=7)
    if axes[0][0].get_legend_handles_labels()[1]:
        axes[0][0].legend(fontsize=7)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _band(axis, entry: Row, metric: str) -> None:
    value = entry['metrics'][metric]
    std = value['std'] or 0.0
    axis.axhspan(value['mean'] - std, value['mean'] + std, color='0.85')
    axis.axhline(value['mean'], color='0.4', linewidth=1, linestyle='--', label='no mask')


def _against_b(axis, entries: Sequence[Row], metric: str) -> None:
    lines: dict[str, list[Row]] = {}
    for entry in entries:
        if entry['setting'] == BASELINE:
            _band(axis, entry, metric)
        else:
            lines.setdefault(entry['setting'].replace(f'_b{entry["b"]}', ''), []).append(entry)
    for index, (name, line) in enumerate(lines.items()):
        line.sort(key=lambda entry: entry['b'])
        values = [entry['metrics'][metric] for entry in line]
        shift = 0.004 * (index - (len(lines) - 1) / 2)  # so that error bars do not hide one another
        axis.errorbar(
            [entry['b'] + shift for entry in line],
            [value['mean'] for value in values],
            yerr=[value['std'] or 0.0 for value in values],
            marker='o',
            markersize=3,
            capsize=2,
            linewidth=1,
            label=name,
        )
    axis.set_xticks(sorted({entry['b'] for line in lines.values() for entry in line}))
    axis.set_xlabel('b', fontsize=8)


def _by_setting(axis, entries: Sequence[Row], metric: str) -> None:
    several = len({entry['recipe'] for entry in entries}) > 1
    labels: list[str] = []
    for entry in entries:
        value = entry['metrics'][metric]
        if entry['setting'] == BASELINE and not several:
            _band(axis, entry, metric)
        x = len(labels)
        labels.append(entry['recipe'] if entry['setting'] == AS_IS else entry['setting'])
        if several and entry['setting'] != AS_IS:
            labels[-1] = f'{entry["recipe"]} {labels[-1]}'
        axis.plot([x] * len(value['values']), value['values'], '.', color='0.6', markersize=4)
        axis.errorbar(x, value['mean'], yerr=value['std'] or 0.0, fmt='o', markersize=4, capsize=3, color='C0')
    axis.set_xticks(range(len(labels)), labels, rotation=40, ha='right', fontsize=6)
