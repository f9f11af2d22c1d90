"""Results of a benchmark: tables as CSV, Markdown and one HTML page that needs no network, and crops side by side."""

import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError
from ext_core.use.benchmark import Benchmark
from ext_core.use.cost import Cost, machine
from ext_core.use.crops import detail, png_data_uri, strongest_window
from ext_core.use.evaluation import read
from ext_core.use.methods import Nearest, Place, TestSet
from ext_core.use.tables import Row, lower_is_better, mean, table_text, template, write_csv

COST_COLUMNS = {
    'parameters': 'parameters',
    'multiply_adds': 'multiply-adds, 1280 × 720',
    'seconds': 's per image',
    'megapixel': 's per megapixel',
    'time_ratio': 'time ratio',
}
_ZOOM = 3  # of crops on the page
_OVERVIEW = 240  # px, width of the picture that shows where the crop is


@dataclass
class Report:
    """All that is said of a benchmark."""

    benchmark: Benchmark  # after its run
    costs: Mapping[tuple[str, int], Cost]  # by method and scale
    left_out: Mapping[str, str]  # metrics that cannot be computed here, and why

    def __post_init__(self) -> None:
        """Rows, one for each set and method, set by set: means over images, and costs.

        A mean stands only where every image has a value, or is too small for the metric: means over other images than
        those of the other methods would mislead.
        """
        metrics, border = self.benchmark.metrics, self.benchmark.border
        self.images = self.benchmark.results()
        self.rows: list[Row] = []
        for test_set in self.benchmark.sets:
            for name in (upscaler.name for upscaler in self.benchmark.upscalers if upscaler.takes(test_set)):
                images = self.images[name, test_set.name].values()
                row: Row = {'set': test_set.name, 'scale': test_set.scale, 'method': name, 'images': len(images)}
                for metric in metrics:
                    complete = all(metric in values for values in images)
                    row[metric] = mean(values[metric] for values in images) if complete else None
                cost = self.costs.get((name, test_set.scale), {})
                self.rows.append(row | {key: cost.get(key) for key in COST_COLUMNS})
        titles = {name: f'{name} {"↓" if lower_is_better(options) else "↑"}' for name, options in metrics.items()}
        # key to title, of the columns with figures that any row has
        self.headings = {
            key: title
            for key, title in (titles | COST_COLUMNS).items()
            if any(row[key] is not None for row in self.rows)
        }
        where = 'RGB' if metrics.get('psnr', metrics.get('ssim', {})).get('test_y_channel') is False else 'luminance'
        cut = 'as many pixels as the scale' if border is None else f'{border} pixels'
        lpips = ', LPIPS none' if 'lpips' in metrics else ''
        self.notes = [
            f'PSNR and SSIM are of {where}. Metrics leave out a border of {cut}{lpips}.',
            'Multiply-adds of one pass for a result of 1280 × 720, scaled from a small image by area.',
        ]
        if 'seconds' in self.headings:
            self.notes.append(
                f'Times of the image of median size on {machine()}: they hold for this machine only. Methods '
                'alternated; the ratio is to the first method with a time that was named, else to bicubic.'
            )
        self.missing = [f'{name} is left out: {reason}' for name, reason in self.left_out.items()]
        self.missing += [f'missing: {line}' for line in self.benchmark.failures]


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


def write(report: Report, output: Path, command: Sequence[str]) -> str:
    """``results.csv``, ``images.csv`` and ``results.md``; returns the last one's text: a table for each set, how it was
    measured, and what is missing."""
    write_csv(report.rows, output / 'results.csv')
    of_images = [
        {'set': set_name, 'method': method, 'image': image}
        | {metric: values.get(metric) for metric in report.benchmark.metrics}
        for (method, set_name), images in report.images.items()
        for image, values in images.items()
    ]
    write_csv(of_images, output / 'images.csv')
    lines: list[str] = []
    for test_set in report.benchmark.sets:
        rows = [row for row in report.rows if row['set'] == test_set.name]
        columns = {key: title for key, title in report.headings.items() if any(row[key] is not None for row in rows)}
        cells = [[row['method'], *(shown(key, row[key]) for key in columns)] for row in rows]
        lines += [f'## {test_set.name} ×{test_set.scale}, {len(test_set.places)} images', '']
        lines += [table_text([['method', *columns.values()], *cells]), '']
    lines += [' '.join(report.notes), '', *(f'- {line.splitlines()[0]}' for line in report.missing)]
    text = '\n'.join([*lines, '', '```sh', shlex.join(command), '```', ''])
    atomic_write_text(text, output / 'results.md')
    return text


# ---------------------------------------------------------------------- crops
@dataclass(frozen=True)
class Crop:
    """A square of ``size`` pixels; ``corner`` is its left and top, None for where methods differ most."""

    size: int
    corner: tuple[int, int] | None = None

    def fits(self, place: Place) -> bool:
        """Whether it lies inside of an image."""
        left, top = self.corner or (0, 0)
        return left + self.size <= place.size[0] and top + self.size <= place.size[1]


def require_crop(crop: Crop | None, sets: Sequence[TestSet]) -> Crop:
    """The crop of the pictures; without one, as much of 64 pixels as the largest image has.

    Raises:
        UserError: If it is in none of the images.
    """
    places = [place for test_set in sets for place in test_set.places]
    if crop is None:
        return Crop(min(64, max(min(place.size) for place in places)))
    if not any(crop.fits(place) for place in places):
        raise UserError('--crop lies in none of the images. Choose a smaller one.')
    return crop


@dataclass(frozen=True)
class Piece:
    """The same square of an image as several methods made it; images are uint8 BGR (h, w, 3)."""

    place: Place
    left: int  # in HR pixels
    top: int
    size: int
    whole: np.ndarray  # the true image
    images: dict[str, np.ndarray]  # the square by method; 'HR' is the true one
    captions: dict[str, str]  # the image's metrics by method; empty where there are none

    @property
    def title(self) -> str:
        """What and where it is."""
        where = f'{self.size} × {self.size} pixels at x {self.left}, y {self.top}'
        return f'{self.place.set_name}: {self.place.name}, {where}'


def pieces_of(report: Report, crop: Crop, pictures: int) -> list[Piece]:
    """Of at most so many images of each set, those where the methods differ most: where the standard deviation over
    methods is largest."""
    benchmark, size = report.benchmark, crop.size
    pieces = []
    for test_set in benchmark.sets:
        found = []
        for place in filter(crop.fits, test_set.places):
            files, compared = {}, []
            for upscaler in benchmark.upscalers:
                if upscaler.only is not None or not upscaler.takes(test_set):
                    continue
                kept = benchmark.output / 'runs' / upscaler.name / test_set.name / f'{place.name}.png'
                path = kept if upscaler.timed else next(iter(upscaler.sources(place)))
                if path.is_file():
                    files[upscaler.name] = path
                    if not isinstance(upscaler, Nearest):  # which differs everywhere
                        compared.append(read(path))
            if not files:
                continue
            if len(compared) > 1:
                weight = np.stack(compared).astype(np.float32).std(axis=0).mean(axis=-1)
            else:
                weight = detail(read(next(iter(files.values()))))
            left, top = crop.corner or strongest_window(weight, size)[::-1]
            square = np.s_[top : top + size, left : left + size]
            found.append((float(weight[square].sum()), place, left, top, files))
        found.sort(key=lambda entry: -entry[0])
        for _, place, left, top, files in found[:pictures]:
            truth = read(place.gt)[: place.size[1], : place.size[0]]
            images = {'HR': truth} | {name: read(path) for name, path in files.items()}
            captions = {}
            for name in images:
                values = report.images.get((name, place.set_name), {}).get(place.name, {})
                captions[name] = ', '.join(f'{metric} {shown(metric, value)}' for metric, value in values.items())
            cut = {name: image[top : top + size, left : left + size] for name, image in images.items()}
            pieces.append(Piece(place, left, top, size, truth, cut, captions))
    return pieces


# ---------------------------------------------------------------------- page
def page(report: Report, pieces: Sequence[Piece], title: str) -> str:
    """The page: a table that sorts itself, notes, and for each piece the whole image and the crops of all methods."""
    comparable = {upscaler.name for upscaler in report.benchmark.upscalers if upscaler.only is None}
    values: dict[tuple[str, str], list[float]] = {}  # by set and metric, of the methods that all metrics fit
    for row, metric in itertools.product(report.rows, report.benchmark.metrics):
        if row[metric] is not None and row['method'] in comparable:
            values.setdefault((row['set'], metric), []).append(row[metric])
    lower = {metric for metric, options in report.benchmark.metrics.items() if lower_is_better(options)}
    framed = []
    for piece in pieces:
        factor = min(1.0, _OVERVIEW / piece.whole.shape[1])
        small = cv2.resize(piece.whole, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        x, y, size = (round(value * factor) for value in (piece.left, piece.top, piece.size))
        cv2.rectangle(small, (x, y, size, size), (0, 255, 255), 1)
        framed.append((piece, small))
    return template('benchmark.html').render(
        title=title,
        headings={'set': 'set', 'method': 'method', 'scale': 'scale', **report.headings},
        texts=('set', 'method'),
        rows=report.rows,
        best={key: (min if key[1] in lower else max)(found) for key, found in values.items()},
        shown=shown,
        number=lambda value: '' if value is None else 'Infinity' if value == math.inf else value,  # for JavaScript
        notes=report.notes,
        missing=report.missing,
        pieces=framed,
        uri=png_data_uri,
        zoom=_ZOOM,
        overview=_OVERVIEW,
    )
