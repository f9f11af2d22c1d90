"""Results of a benchmark as rows, CSV and Markdown."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ext_core.benchmark.cost import Cost, machine
from ext_core.benchmark.runner import Benchmark
from ext_core.report.tables import Row, lower_is_better, mean, table_text, write_csv
from ext_core.saving.checkpoint import atomic_write_text

COST_COLUMNS = {
    'parameters': 'parameters',
    'multiply_adds': 'multiply-adds, 1280 × 720',
    'seconds': 's per image',
    'megapixel': 's per megapixel',
    'time_ratio': 'time ratio',
}


@dataclass
class Report:
    """All that is said of a benchmark.

    Args:
        benchmark (Benchmark): After its run.
        costs (Mapping[tuple[str, int], Cost]): By method and scale.
        left_out (Mapping[str, str]): Metrics that cannot be computed here, and why.
        notes (Sequence[str]): How it was measured, a sentence each.
    """

    benchmark: Benchmark
    costs: Mapping[tuple[str, int], Cost]
    left_out: Mapping[str, str]
    notes: Sequence[str]

    def __post_init__(self) -> None:
        self.images = self.benchmark.results()
        self.rows = self._rows()

    @property
    def headings(self) -> dict[str, str]:
        """Of the columns with figures that any row has: key to title."""
        metrics = {name: f'{name} {arrow(options)}' for name, options in self.benchmark.metrics.items()}
        columns = metrics | COST_COLUMNS
        return {key: title for key, title in columns.items() if any(row[key] is not None for row in self.rows)}

    def _rows(self) -> list[Row]:
        """One for each set and method, set by set: means over images, and costs.

        A mean stands only where every image has a value, or is too small for the metric: means over other images than
        those of the other methods would mislead.
        """
        rows = []
        for test_set in self.benchmark.sets:
            for upscaler in self.benchmark.upscalers:
                images = self.images.get((upscaler.name, test_set.name))
                if images is None:
                    continue
                row: Row = {'set': test_set.name, 'scale': test_set.scale, 'method': upscaler.name}
                row['images'] = len(images)
                for metric in self.benchmark.metrics:
                    complete = all(metric in values for values in images.values())
                    row[metric] = mean(values[metric] for values in images.values()) if complete else None
                cost = self.costs.get((upscaler.name, test_set.scale), {})
                rows.append(row | {key: cost.get(key) for key in COST_COLUMNS})
        return rows

    def image_rows(self) -> list[Row]:
        """One for each image of a method."""
        return [
            {'set': set_name, 'method': method, 'image': image}
            | {metric: values.get(metric) for metric in self.benchmark.metrics}
            for (method, set_name), images in self.images.items()
            for image, values in images.items()
        ]


def arrow(options: Mapping[str, Any]) -> str:
    """The direction in which a metric is better."""
    return '↓' if lower_is_better(options) else '↑'


def notes(metrics: Mapping[str, Mapping[str, Any]], border: int | None, timed: bool) -> list[str]:
    """How it was measured."""
    where = 'RGB' if metrics.get('psnr', metrics.get('ssim', {})).get('test_y_channel') is False else 'luminance'
    cut = 'as many pixels as the scale' if border is None else f'{border} pixels'
    lpips = ', LPIPS none' if 'lpips' in metrics else ''
    text = [f'PSNR and SSIM are of {where}. Metrics leave out a border of {cut}{lpips}.']
    text.append('Multiply-adds of one pass for a result of 1280 × 720, scaled from a small image by area.')
    if timed:
        text.append(
            f'Times of the image of median size on {machine()}: they hold for this machine only. Methods alternated; '
            'the ratio is to the first method with a time that was named, else to bicubic.'
        )
    return text


def shown(key: str, value: Any) -> str:
    """A cell's text; '–' for None."""
    if value is None:
        return '–'
    if key == 'parameters':
        return f'{value:,}'
    if key == 'multiply_adds':
        return f'{value / 1e9:.2f} G'
    if key in COST_COLUMNS:
        return f'{value:.3g}'
    return f'{value:.4f}' if isinstance(value, float) else str(value)


# ---------------------------------------------------------------------- files
def markdown(report: Report, command: Sequence[str] = ()) -> str:
    """A table for each set, how it was measured, and what is missing."""
    lines: list[str] = []
    for test_set in report.benchmark.sets:
        rows = [row for row in report.rows if row['set'] == test_set.name]
        columns = {key: title for key, title in report.headings.items() if any(row[key] is not None for row in rows)}
        cells = [[row['method'], *(shown(key, row[key]) for key in columns)] for row in rows]
        lines += [f'## {test_set.name} ×{test_set.scale}, {len(test_set.places)} images', '']
        lines += [table_text([['method', *columns.values()], *cells]), '']
    lines += [' '.join(report.notes), '']
    lines += [f'- {name} is left out: {reason.splitlines()[0]}' for name, reason in report.left_out.items()]
    lines += [f'- missing: {text}' for text in failure_lines(report.benchmark)]
    if command:
        lines += ['', '```sh', shlex.join(command), '```']
    return '\n'.join(lines).rstrip() + '\n'


def failure_lines(benchmark: Benchmark) -> list[str]:
    """What went wrong, a line each."""
    return [
        f'{what}, {metric}: {reason}'
        for what, failed in benchmark.failures.items()
        for metric, reason in failed.items()
    ]


def write(report: Report, output: Path, command: Sequence[str]) -> str:
    """``results.csv``, ``images.csv`` and ``results.md``; returns the last one's text."""
    write_csv(report.rows, output / 'results.csv')
    write_csv(report.image_rows(), output / 'images.csv')
    text = markdown(report, command)
    atomic_write_text(text, output / 'results.md')
    return text
