"""Results of a benchmark: tables as CSV, Markdown and one HTML page that needs no network, and crops side by side."""

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
    """All that is said of a benchmark.

    Args:
        benchmark (Benchmark): After its run.
        costs (Mapping[tuple[str, int], Cost]): By method and scale.
        left_out (Mapping[str, str]): Metrics that cannot be computed here, and why.
    """

    benchmark: Benchmark
    costs: Mapping[tuple[str, int], Cost]
    left_out: Mapping[str, str]

    def __post_init__(self) -> None:
        """Rows, one for each set and method, set by set: means over images, and costs.

        A mean stands only where every image has a value, or is too small for the metric: means over other images than
        those of the other methods would mislead.
        """
        metrics, border = self.benchmark.metrics, self.benchmark.border
        self.images = self.benchmark.results()
        self.rows: list[Row] = []
        for test_set in self.benchmark.sets:
            for upscaler in self.benchmark.upscalers:
                images = self.images.get((upscaler.name, test_set.name))
                if images is None:
                    continue
                row: Row = {'set': test_set.name, 'scale': test_set.scale, 'method': upscaler.name}
                row['images'] = len(images)
                for metric in metrics:
                    complete = all(metric in values for values in images.values())
                    row[metric] = mean(values[metric] for values in images.values()) if complete else None
                cost = self.costs.get((upscaler.name, test_set.scale), {})
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
    """The same square of an image as several methods made it.

    Args:
        place (Place): The image.
        left (int), top (int), size (int): The square, in HR pixels.
        whole (np.ndarray): The true image, uint8 BGR (h, w, 3).
        images (dict[str, np.ndarray]): The square by method, uint8 BGR; 'HR' is the true one.
        captions (dict[str, str]): The image's metrics by method; empty where there are none.
    """

    place: Place
    left: int
    top: int
    size: int
    whole: np.ndarray
    images: dict[str, np.ndarray]
    captions: dict[str, str]

    @property
    def title(self) -> str:
        """What and where it is."""
        where = f'{self.size} × {self.size} pixels at x {self.left}, y {self.top}'
        return f'{self.place.set_name}: {self.place.name}, {where}'

    @property
    def titled(self) -> dict[str, np.ndarray]:
        """The images by method and metrics, for documents that hold no HTML."""
        return {f'{name}\n{self.captions[name]}': image for name, image in self.images.items()}


def pieces_of(report: Report, crop: Crop, pictures: int) -> list[Piece]:
    """Of the images where the methods differ most: where the standard deviation over methods is largest.

    Args:
        report (Report): What was measured.
        crop (Crop): What is cut out of images.
        pictures (int): How many of each set, at most.
    """
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
            if crop.corner is None:
                top, left, difference = strongest_window(weight, size)
            else:
                left, top = crop.corner
                difference = float(weight[top : top + size, left : left + size].sum())
            found.append((difference, place, left, top, files))
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
    """The page: a table that sorts itself, notes, and for each piece the whole image and the crops of all methods.

    Args:
        report (Report): What it shows.
        pieces (Sequence[Piece]): From :func:`pieces_of`.
        title (str): Its heading.
    """
    comparable = {upscaler.name for upscaler in report.benchmark.upscalers if upscaler.only is None}
    best: dict[tuple[str, str], float] = {}  # by set and metric, of the methods that all metrics have a meaning for
    for metric, options in report.benchmark.metrics.items():
        choose = min if lower_is_better(options) else max
        for row in report.rows:
            if row[metric] is not None and row['method'] in comparable:
                of = row['set'], metric
                best[of] = choose(best.get(of, row[metric]), row[metric])
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
        best=best,
        shown=shown,
        number=lambda value: '' if value is None else 'Infinity' if value == math.inf else value,  # for JavaScript
        notes=report.notes,
        missing=report.missing,
        pieces=framed,
        uri=png_data_uri,
        zoom=_ZOOM,
        overview=_OVERVIEW,
    )
