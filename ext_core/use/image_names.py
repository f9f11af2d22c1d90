"""Which images a command line means, and where their results go."""

import contextlib
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ext_core.errors import UserError
from ext_core.options.problems import examples
from ext_core.use.photographs import formats_of, lacking, readable
from ext_data.decoding import IMAGE_SUFFIXES, ImageError, read_header

_KEPT_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff')  # that are written as they were read


class Job(NamedTuple):
    """An image and its result."""

    source: Path
    target: Path


def plan(
    inputs: Sequence[str], output: Path, suffix: str = '', ext: str = 'auto', recursive: bool = False
) -> tuple[list[Job], list[Path]]:
    """Find the images of files, folders and patterns, and name the results, each differently.

    Args:
        output (Path), suffix (str): Folder of the results, and what stands behind their names.
        ext (str): 'auto', 'png', 'jpg' or 'webp'.
        recursive (bool): Look into folders of folders, whose structure the results get.

    Returns:
        tuple[list[Job], list[Path]]: The jobs; and what else lies in the folders and patterns: files that are no images
        by their names, and folders not searched.

    Raises:
        UserError: If an input is not there, or a result would overwrite an image.
    """
    # each file once, as it was found first, or as it is named: with the folder of its result below the output
    unique: dict[Path, tuple[Path, Path]] = {}
    meant = set()  # files that the command line itself names
    left_out: list[Path] = []
    for text in inputs:
        place = Path(text)
        images, others = ([place], []) if place.is_file() else _inside(text, output, recursive)
        left_out += others
        if not images and place.is_dir():
            hint = 'Name another folder' if recursive else 'Add --recursive for its folders'
            there = f' There is: {named(others)}.' if others else ''
            raise UserError(f'{place} holds no images. {hint}.{there}')
        if not images:
            what = 'no images match' if glob.has_magic(text) else 'there is no such file or folder'
            raise UserError(f'{text}: {what}. Correct -i.')
        for image in images:
            folder = image.parent.relative_to(place) if place.is_dir() else Path()
            if place.is_file() or _real(image) not in unique:
                unique[_real(image)] = image, folder
            if place.is_file():
                meant.add(image)
    made_of = {_real(job.target): job.source for job in _jobs(unique.values(), output, suffix, ext)}
    # without results of the run before, where they lie beside their images
    kept = [pair for real, pair in unique.items() if pair[0] in meant or made_of.get(real, pair[0]) == pair[0]]
    jobs = _jobs(kept, output, suffix, ext)
    originals = {_real(source) for source, _ in kept}
    for job in jobs:
        if _real(job.target) in originals:
            raise UserError(
                f'{job.target} is an image of the input and would be overwritten. Give --suffix, or another -o.'
            )
    return jobs, list(dict.fromkeys(left_out))


def named(paths: Sequence[Path]) -> str:
    """The first of what was left out, each with what is missing for it."""
    remedies = ['--recursive' if path.is_dir() else lacking(path) for path in paths]
    lines = [f'{path} ({remedy})' if remedy else str(path) for path, remedy in zip(paths, remedies, strict=True)]
    return examples(lines, 20)


def _inside(text: str, output: Path, recursive: bool) -> tuple[list[Path], list[Path]]:
    """Images in a folder or of a pattern, by their names, and what else is there; without results, where these go into
    a part of what is searched. A link to nothing is an image too, which will be named when its turn comes."""
    searched = place = Path(text)
    if place.is_dir():
        found = sorted(_walk(place) if recursive else place.iterdir())
        found = [path for path in found if not any(part.startswith('.') for part in path.relative_to(place).parts)]
    else:
        found = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
        searched = next(folder for folder in place.parents if not glob.has_magic(str(folder)))
    results, whole = _real(output), _real(searched)
    if results != whole and results not in whole.parents:
        found = [path for path in found if results not in (_real(path), *_real(path).parents)]
    images, others = [], []
    for path in found:
        suffix = path.suffix.lower()
        if path.is_dir():
            others += [path] if place.is_dir() and not recursive else []
        elif suffix in IMAGE_SUFFIXES or suffix in readable():
            images.append(path)
        elif path.is_file():
            others.append(path)
    return images, others


def _walk(place: Path) -> Iterator[Path]:
    """All files below a folder, in linked folders too, which may lead in a circle."""
    seen = set()
    for folder, inner, files in os.walk(place, followlinks=True):
        real = _real(Path(folder))
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in files)


def _real(path: Path) -> Path:
    """``path.resolve()``, but of links in a circle too."""
    return Path(os.path.realpath(path))


def _jobs(sources: Iterable[tuple[Path, Path]], output: Path, suffix: str, ext: str) -> list[Job]:
    """Images, with the folders of their results below the output, as jobs.

    Where two results had one name, all of these get more of their image's name and place into it: all, and not all but
    one, so that a name means the same image whichever others are there.
    """
    folders, endings = dict(sources), {}
    for source in folders:
        own = source.suffix.lower() if source.suffix.lower() in _KEPT_SUFFIXES else '.png'
        endings[source] = own if ext == 'auto' else f'.{ext}'
        if ext == 'jpg':  # which has no transparency, so PNG is written instead
            with contextlib.suppress(ImageError):  # it will be named when its turn comes
                header = read_header(source, str(source), formats_of(source))
                if header is not None and header.alpha:
                    endings[source] = '.png'
    detail = dict.fromkeys(folders, 0)
    for _ in range(64):
        targets: dict[Path, list[Path]] = {}
        for source, folder in folders.items():
            stem, more = source.stem, detail[source]
            if more:  # a, then a_png, then folder_a_png, then folders_folder_a_png, ...
                above = _real(source).parts[1:-1]
                stem = '_'.join([*above[max(len(above) - more + 1, 0) :], stem, source.suffix[1:]])
            targets.setdefault(output / folder / f'{stem}{suffix}{endings[source]}', []).append(source)
        alike = [source for group in targets.values() if len(group) > 1 for source in group]
        if not alike:
            return [Job(group[0], target) for target, group in targets.items()]
        for source in alike:
            detail[source] += 1
    raise UserError(
        f'{alike[0]}, {alike[1]}: their results would have one name. Run the command once for each, with two folders '
        'for -o.'
    )
