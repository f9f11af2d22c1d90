"""Which pieces of a benchmark's images are shown: those where the methods differ most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ext_core.benchmark.report import Report, shown
from ext_core.benchmark.sets import Place, TestSet
from ext_core.benchmark.upscalers import Nearest, Upscaler
from ext_core.errors import UserError
from ext_core.images.windows import detail, strongest_window
from ext_core.inference.evaluation import read


@dataclass(frozen=True)
class Crop:
    """A square of ``size`` pixels; ``corner`` is its left and top, None for where methods differ most."""

    size: int
    corner: tuple[int, int] | None = None

    def fits(self, place: Place) -> bool:
        """Whether it lies inside of an image."""
        left, top = self.corner or (0, 0)
        return left + self.size <= place.size[0] and top + self.size <= place.size[1]


def require_crop(crop: Crop, sets: Sequence[TestSet]) -> None:
    """Refuse a crop that is in none of the images.

    Raises:
        UserError: If so.
    """
    if not any(crop.fits(place) for test_set in sets for place in test_set.places):
        raise UserError('--crop lies in none of the images. Choose a smaller one.')


@dataclass(frozen=True)
class Piece:
    """The same square of an image as several methods made it.

    Args:
        place (Place): The image.
        left, top, size (int): The square, in HR pixels.
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


def pieces_of(report: Report, crop: Crop, pictures: int) -> list[Piece]:
    """Of the images where the methods differ most.

    Args:
        report (Report): What was measured.
        crop (Crop): What is cut out of images.
        pictures (int): How many of each set, at most.
    """
    pieces = []
    for test_set in report.benchmark.sets:
        upscalers = [u for u in report.benchmark.upscalers if u.pictured and u.takes(test_set)]
        found = []
        for place in test_set.places:
            files = picture_files(upscalers, place, report.benchmark.output)
            if crop.fits(place) and files:
                left, top, difference = _window({name: read(path) for name, path in files.items()}, upscalers, crop)
                found.append((difference, place, left, top, files))
        found.sort(key=lambda entry: -entry[0])
        pieces += [
            _piece(report, place, left, top, files, crop.size) for _, place, left, top, files in found[:pictures]
        ]
    return pieces


def _piece(report: Report, place: Place, left: int, top: int, files: Mapping[str, Path], size: int) -> Piece:
    width, height = place.size
    truth = read(place.gt)[:height, :width]
    images = {'HR': truth} | {name: read(path) for name, path in files.items()}
    captions = {}
    for name in images:
        values = report.images.get((name, place.set_name), {}).get(place.name, {})
        captions[name] = ', '.join(f'{metric} {shown(metric, value)}' for metric, value in values.items())
    cut = {name: image[top : top + size, left : left + size] for name, image in images.items()}
    return Piece(place, left, top, size, truth, cut, captions)


def picture_files(upscalers: Sequence[Upscaler], place: Place, output: Path) -> dict[str, Path]:
    """The SR images of a place that there are, by method."""
    files = {}
    for upscaler in upscalers:
        kept = output / 'runs' / upscaler.name / place.set_name / f'{place.name}.png'
        path = kept if upscaler.kept else next(iter(upscaler.sources(place)))
        if path.is_file():
            files[upscaler.name] = path
    return files


def _window(images: Mapping[str, np.ndarray], upscalers: Sequence[Upscaler], crop: Crop) -> tuple[int, int, float]:
    """Left and top of the crop, and how much methods differ in it: the standard deviation over methods."""
    coarse = {upscaler.name for upscaler in upscalers if isinstance(upscaler, Nearest)}  # it differs everywhere
    compared = [image for name, image in images.items() if name not in coarse]
    if len(compared) < 2:
        weight = detail(next(iter(images.values())))
    else:
        weight = np.stack(compared).astype(np.float32).std(axis=0).mean(axis=-1)
    if crop.corner is None:
        top, left, difference = strongest_window(weight, crop.size)
        return left, top, difference
    left, top = crop.corner
    return left, top, float(weight[top : top + crop.size, left : left + crop.size].sum())
