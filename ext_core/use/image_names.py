"""Which images a command line means, and where their results go."""

import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ext_core.errors import UserError
from ext_core.options.problems import examples
from ext_core.use.photographs import formats_of, lacking, readable
from ext_data.decoding import IMAGE_SUFFIXES, ImageError, read_header

_KEPT_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff')  # that are written as they were read


@dataclass(frozen=True)
class Source:
    """An image that is to be enlarged.

    Args:
        path (Path): The file.
        folder (Path): Of its result, below the output folder.
        named (bool): Whether the command line names the file itself.
    """

    path: Path
    folder: Path
    named: bool


@dataclass(frozen=True)
class Job:
    """An image and its result."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Naming:
    """How results are called.

    Args:
        output (Path): Folder.
        suffix (str): What stands behind the name.
        ext (str): 'auto', 'png', 'jpg' or 'webp'.
    """

    output: Path
    suffix: str = ''
    ext: str = 'auto'


def plan(inputs: Sequence[str], naming: Naming, recursive: bool = False) -> list[Job]:
    """Find the images and name the results, each differently.

    Args:
        inputs (Sequence[str]): Files, folders and patterns.
        naming (Naming): How results are called.
        recursive (bool): Look into folders of folders, whose structure the results get.

    Raises:
        UserError: If an input is not there, or a result would overwrite an image.
    """
    unique: dict[Path, Source] = {}  # each file once: as it was found first, and named if it was ever named
    for source in (source for text in inputs for source in _sources(text, naming.output, recursive)):
        key = _real(source.path)
        if key not in unique or (source.named and not unique[key].named):
            unique[key] = source
    sources = list(unique.values())
    made_of = {_real(job.target): job.source for job in _jobs(sources, naming)}
    # results of the run before, where they lie beside their images
    sources = [
        source for source in sources if source.named or made_of.get(_real(source.path), source.path) == source.path
    ]
    jobs = _jobs(sources, naming)
    images = {_real(source.path) for source in sources}
    for job in jobs:
        if _real(job.target) in images:
            raise UserError(
                f'{job.target} is an image of the input and would be overwritten. Give --suffix, or another -o.'
            )
    return jobs


# ---------------------------------------------------------------------- sources
def _sources(text: str, output: Path, recursive: bool) -> Iterator[Source]:
    path = Path(text)
    if path.is_file():
        yield Source(path, Path(), True)
        return
    if path.is_dir():
        found = [
            inside
            for inside in sorted(path.rglob('*') if recursive else path.iterdir())
            if not any(part.startswith('.') for part in inside.relative_to(path).parts)
            and _is_image(inside)
            and not _is_result(inside, path, output)
        ]
        if not found:
            hint = 'Add --recursive for its folders' if not recursive else 'Name another folder'
            others = left_out([text], output, recursive)
            raise UserError(f'{path} holds no images. {hint}.{f" There is: {named(others)}." if others else ""}')
        yield from (Source(inside, inside.parent.relative_to(path), False) for inside in found)
        return
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    fixed = next(folder for folder in path.parents if not glob.has_magic(str(folder)))
    matches = [match for match in matches if _is_image(match) and not _is_result(match, fixed, output)]
    if not matches:
        what = 'no images match' if glob.has_magic(text) else 'there is no such file or folder'
        raise UserError(f'{text}: {what}. Correct -i.')
    yield from (Source(match, Path(), False) for match in matches)


def left_out(inputs: Sequence[str], output: Path, recursive: bool = False) -> list[Path]:
    """What lies in the folders and patterns of the input and is no image by its name; and folders not searched."""
    found: list[Path] = []
    for text in inputs:
        place = Path(text)
        if place.is_dir():
            inside = sorted(place.rglob('*') if recursive else place.iterdir())
            found += [
                path
                for path in inside
                if not any(part.startswith('.') for part in path.relative_to(place).parts)
                and (path.is_file() or not recursive)
                and not _is_result(path / '_', place, output)
            ]
        elif not place.is_file():
            found += [path for path in map(Path, sorted(glob.glob(text, recursive=True))) if path.is_file()]
    return [path for path in dict.fromkeys(found) if not _is_image(path)]


def named(paths: Sequence[Path]) -> str:
    """The first of what was left out, each with what is missing for it."""
    remedies = ['--recursive' if path.is_dir() else lacking(path) for path in paths]
    lines = [f'{path} ({remedy})' if remedy else str(path) for path, remedy in zip(paths, remedies, strict=True)]
    return examples(lines, 20)


def _is_image(path: Path) -> bool:
    """By its name; a link to nothing is one too, which will be named when its turn comes."""
    suffix = path.suffix.lower()
    return (suffix in IMAGE_SUFFIXES or suffix in readable()) and (
        path.is_file() or (path.is_symlink() and not path.exists())
    )


def _is_result(path: Path, searched: Path, output: Path) -> bool:
    """Whether it lies where results go, and that is but a part of what is searched."""
    place, whole = _real(output), _real(searched)
    return place in _real(path).parents and place != whole and place not in whole.parents


def _real(path: Path) -> Path:
    """``path.resolve()``, but of links in a circle too."""
    return Path(os.path.realpath(path))


# ---------------------------------------------------------------------- results
def _jobs(sources: Sequence[Source], naming: Naming) -> list[Job]:
    """Where two results had one name, all of these get more of their image's name and place into it.

    All, and not all but one: so a name means the same image whichever others are there.
    """
    suffixes = {source: _suffix(source.path, naming.ext) for source in sources}
    detail = dict.fromkeys(sources, 0)
    for _ in range(64):
        targets: dict[Path, list[Source]] = {}
        for source in sources:
            stem, more = source.path.stem, detail[source]
            if more:  # a, then a_png, then folder_a_png, then folders_folder_a_png, ...
                folders = _real(source.path).parts[1:-1]
                stem = '_'.join([*folders[max(len(folders) - more + 1, 0) :], stem, source.path.suffix[1:]])
            name = f'{stem}{naming.suffix}{suffixes[source]}'
            targets.setdefault(naming.output / source.folder / name, []).append(source)
        alike = [source for group in targets.values() if len(group) > 1 for source in group]
        if not alike:
            return [Job(group[0].path, target) for target, group in targets.items()]
        for source in alike:
            detail[source] += 1
    names = ', '.join(str(source.path) for source in alike[:2])
    raise UserError(
        f'{names}: their results would have one name. Run the command once for each, with two folders for -o.'
    )


def _suffix(path: Path, ext: str) -> str:
    if ext == 'auto':
        return path.suffix.lower() if path.suffix.lower() in _KEPT_SUFFIXES else '.png'
    if ext == 'jpg':  # which has no transparency, so PNG is written instead
        with contextlib.suppress(ImageError):  # it will be named when its turn comes
            header = read_header(path, str(path), formats_of(path))
            if header is not None and header.alpha:
                return '.png'
    return f'.{ext}'
