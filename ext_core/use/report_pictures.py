"""Crops of the images that trainings and tests saved, for comparison."""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ext_core.errors import UserError
from ext_core.use.crops import detail, png_data_uri, strongest_window
from ext_core.use.evaluation import bicubic, read
from ext_core.use.experiments import Experiment, ways_to

_TRUTH = 'true image'
_MARGIN = 8  # LR pixels
_TOLERANCE = 8  # pixels that images of one name may differ in size, for borders that were cut off


class Source(NamedTuple):
    """One version of an image: a file, or what is interpolated from one."""

    label: str
    path: Path
    scale: int = 1  # by which an LR image is to be enlarged


@dataclass
class Picture:
    """One image: its crop in all versions, as data URIs by their labels; the first two are shown first."""

    name: str
    left: int
    top: int
    size: tuple[int, int]
    crops: dict[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------------- files
def sources(experiments: Sequence[Experiment], iterations: int) -> dict[str, list[Source]]:
    """Versions of each image that was saved, by the image's name; those that most experiments have come first.

    The last iterations of all experiments come first, then the others in turn, then the true image and the bicubic one.
    Of one experiment there are at most so many iterations: first, last, and others evenly between.
    """
    found: dict[str, list[list[Source]]] = {}
    for experiment in experiments:
        # trainings have visualization/IMAGE/IMAGE_ITERATION.png, with several validation sets
        # visualization/SET/IMAGE/IMAGE_ITERATION.png; tests have visualization/SET/IMAGE_SUFFIX.png
        trained: dict[str, list[tuple[int, Path]]] = {}
        saved: dict[str, list[Source]] = {}
        suffix = experiment.section('val').get('suffix') or experiment.folder.resolve().name
        folder = experiment.folder / 'visualization'
        for path in sorted(filter(Path.is_file, [*folder.glob('*/*.png'), *folder.glob('*/*/*.png')])):
            step = re.fullmatch(rf'{re.escape(path.parent.name)}_(\d+)', path.stem)
            if step:
                trained.setdefault(path.parent.relative_to(folder).as_posix(), []).append((int(step.group(1)), path))
            else:
                name = path.stem.removesuffix(f'_{suffix}')
                saved.setdefault(name, []).append(Source(f'{experiment.name}, {path.parent.name}', path))
        for name, versions in trained.items():
            versions.sort(reverse=True)
            kept = np.unique(np.linspace(0, len(versions) - 1, min(iterations, len(versions))).round().astype(int))
            chosen = [Source(f'{experiment.name}, iteration {versions[i][0]:,}', versions[i][1]) for i in kept]
            saved.setdefault(name, []).extend(chosen)
        for name, of_name in saved.items():
            found.setdefault(name, []).append(of_name)
    names = sorted(found, key=lambda name: (-len(found[name]), name))
    in_turn = {name: [s for rank in itertools.zip_longest(*found[name]) for s in rank if s] for name in names}
    return {name: [*in_turn[name], *_originals(experiments, name)] for name in names}


def _originals(experiments: Sequence[Experiment], name: str) -> list[Source]:
    """The true image, and the LR image for bicubic interpolation, where a validation set has files of the name."""
    test_set, _, name = name.rpartition('/')
    for experiment in experiments:
        scale = (experiment.options or {}).get('scale')
        roots = [way.parent.parent for way in ways_to(experiment.folder)]  # folders are named from where it started
        for key, section in experiment.section('datasets').items():
            if not str(key).startswith(('val', 'test')) or not isinstance(section, dict):
                continue
            if test_set and section.get('name') != test_set:
                continue
            found = []
            # LR names are made of HR names, and pictures are named after LR files
            for side, naming in (('dataroot_gt', str(section.get('filename_tmpl') or '{}')), ('dataroot_lq', '{}')):
                place = os.path.expanduser(os.path.expandvars(str(section.get(side) or '')))
                files = [path for root in roots for path in sorted((root / place).glob('*')) if place]
                file = next((f for f in files if f.is_file() and naming.replace('{}', f.stem) == name), None)
                if file is None or file.parent.suffix == '.lmdb':
                    continue
                if side == 'dataroot_gt':
                    found.append(Source(_TRUTH, file))
                elif isinstance(scale, int) and scale > 1:
                    found.append(Source(f'bicubic ×{scale}', file, scale))
            if found:
                return found
    return []


# ---------------------------------------------------------------------- crops
def pictures(
    found: Mapping[str, Sequence[Source]], images: int = 8, crop: int = 192, characters: int = 18_000_000
) -> tuple[list[Picture], list[str]]:
    """Crops of at most so many of the images that :func:`sources` found, squares of ``crop`` pixels, with at most so
    many characters of all data URIs together; and what was left out, as sentences."""
    made: list[Picture] = []
    notes: list[str] = []
    room = characters
    for number, (name, versions) in enumerate(found.items()):
        left_out = f'{len(found) - number} of {len(found)} images are left out'
        if len(made) == images:
            notes.append(f'{left_out}: --images {images}.')
            break
        picture = _picture(name, versions, crop, notes)
        if picture is None:
            continue
        room -= sum(map(len, picture.crops.values()))
        if room < 0:
            notes.append(
                f'{left_out}, because the page would exceed its size (--megabytes). Smaller crops (--crop) make room.'
            )
            break
        made.append(picture)
    return made, notes


def _picture(name: str, versions: Sequence[Source], side: int, notes: list[str]) -> Picture | None:
    """One image in all versions that can be read and fit together; what does not is noted."""
    images = []
    for source in versions:
        try:
            images.append((source, read(source.path)))
        except UserError as error:
            notes.append(str(error))
    if not images:
        return None
    truth = next((image for source, image in images if source.label == _TRUTH), None)
    if truth is None:  # the first one of the size that most have
        shapes = [image.shape for source, image in images if source.scale == 1] or [images[0][1].shape]
        truth = next(image for _, image in images if image.shape == max(shapes, key=shapes.count))
    height, width = truth.shape[:2]
    largest = max(source.scale for source, _ in images)
    side = max(min(side, height, width) // largest, 1) * largest  # crops of LR images are whole pixels
    top, left = strongest_window(detail(truth), min(side, height, width))
    top, left = top // largest * largest, left // largest * largest
    picture = Picture(name, left, top, (min(side, width - left), min(side, height - top)))
    for source, image in images:
        size = image.shape[1] * source.scale, image.shape[0] * source.scale
        if max(abs(size[0] - width), abs(size[1] - height)) > _TOLERANCE:
            notes.append(f'{name}: {source.label} has {size[0]} × {size[1]} pixels instead of {width} × {height}.')
            continue
        # of an LR image with a margin, so that bicubic interpolation sees what it would see in the whole image
        scale, margin = source.scale, _MARGIN if source.scale > 1 else 0
        y, x = max(picture.top // scale - margin, 0), max(picture.left // scale - margin, 0)
        bottom, right = (picture.top + picture.size[1]) // scale, (picture.left + picture.size[0]) // scale
        crop = image[y : bottom + margin, x : right + margin]
        if scale > 1:
            crop = bicubic(crop, scale)
        crop = crop[picture.top - y * scale :, picture.left - x * scale :][: picture.size[1], : picture.size[0]]
        if crop.shape[:2] == picture.size[::-1]:
            picture.crops[source.label] = png_data_uri(crop)
    if len(picture.crops) < 2:
        notes.append(f'{name} is left out: there is nothing to compare it with.')
        return None
    return picture
