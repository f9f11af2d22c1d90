"""Finding the pairs of a known set, or of two folders: HR and LR files, matched by name."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ext_data.decoding import IMAGE_SUFFIXES
from ext_data.preparation.layouts import Layout, Split

SHOWN = 20  # problems listed one by one before the rest is only counted
NAMED = 5  # files that are passed over


@dataclass(frozen=True)
class Pair:
    """An HR file and its LR file.

    Args:
        key (str): Name of the outputs, without extension.
        hr (Path): HR file.
        lr (Path | None): LR file; None if it is to be made.
    """

    key: str
    hr: Path
    lr: Path | None


def listing(problems: Sequence[str]) -> str:
    """The first problems, one per line, and how many more there are."""
    lines = [f'  {problem}' for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f'  ... and {len(problems) - SHOWN} more')
    return '\n'.join(lines)


def find_images(root: Path, template: str, scale: int) -> dict[str, Path]:
    """Image files that a template matches.

    Args:
        root (Path): Folder the template is relative to.
        template (str): Path without extension; its last part contains ``{name}``. See ``layouts``.
        scale (int): Put in for ``{scale}``.

    Returns:
        dict[str, Path]: Name to file, sorted by name; empty if the folder is missing.

    Raises:
        ValueError: If two files have the same name (``a.png`` and ``a.jpg``).
    """
    *folders, last = template.replace('{scale}', str(scale)).split('/')
    folder = root.joinpath(*folders)
    before, after = last.split('{name}')
    pattern = re.compile(re.escape(before) + '(.+)' + re.escape(after))
    found: dict[str, Path] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        match = pattern.fullmatch(path.stem)
        if match is None or path.name.startswith('.') or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if match[1] in found:
            raise ValueError(f'{path} and {found[match[1]].name} have the same name. Remove or rename one of them.')
        found[match[1]] = path
    return found


def passed_over(folder: Path, template: str, scale: int) -> list[str]:
    """What :func:`find_images` leaves aside in a folder.

    Args:
        folder (Path): The folder.
        template (str): Name without extension; contains ``{name}``.
        scale (int): Put in for ``{scale}``.

    Returns:
        list[str]: For each reason how many, why, and the first names.
    """
    taken = set(find_images(folder, template, scale).values())
    wanted = template.replace('{scale}', str(scale))
    reasons: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path in taken:
            continue
        if path.is_dir():
            reason = 'subfolders, which are not searched'
        elif path.name.startswith('.'):
            reason = 'hidden files'
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            reason = 'files whose endings are not those of images that are read'
        else:
            reason = f'images that are not named {wanted}'
        reasons.setdefault(reason, []).append(path.name)
    return [
        f'{len(names)} x {reason}: {", ".join(names[:NAMED])}{", ..." if len(names) > NAMED else ""}'
        for reason, names in reasons.items()
    ]


def match_pairs(hr: dict[str, Path], lr: dict[str, Path], scale: int) -> list[Pair]:
    """Pair files of the same name.

    Args:
        hr (dict[str, Path]): Name to HR file.
        lr (dict[str, Path]): Name to LR file; empty if LR is to be made.
        scale (int): Only for the message.

    Returns:
        list[Pair]: In the order of ``hr``. ``lr`` is None in all of them or in none.

    Raises:
        ValueError: If an image lacks its partner, or if two would get the same name.
    """
    problems = [f'{hr[name]}: no LR image of that name' for name in hr if lr and name not in lr]
    problems += [f'{lr[name]}: no HR image of that name' for name in lr if name not in hr]
    if problems:
        hint = 'Remedy: rename or remove these files; --lr-name says how LR names derive from HR names.'
        if any(f'{name}x{scale}' in lr for name in hr):
            hint = f"The LR names end in x{scale}: add --lr-name '{{name}}x{scale}'."
        raise ValueError(
            f'HR ({len(hr)} images) and LR ({len(lr)} images) do not match in names:\n{listing(problems)}\n{hint}'
        )
    # BasicSR ends an LMDB key at the first dot and a meta line's name at the first space
    keys = {name: re.sub(r'[.\s]+', '_', name) for name in hr}
    owners: dict[str, Path] = {}
    for name, path in hr.items():
        owner = owners.setdefault(keys[name], path)
        if owner is not path:
            problems.append(f'{path} and {owner} would both become {keys[name]}.png')
    if problems:
        raise ValueError(f'{len(problems)} names cannot be told apart:\n{listing(problems)}\nRename one of each.')
    return [Pair(keys[name], path, lr.get(name)) for name, path in hr.items()]


def require_ascii(keys: Iterable[tuple[str, str]], remedy: str) -> None:
    """What an LMDB asks of its keys.

    Args:
        keys (Iterable[tuple[str, str]]): Keys, and the files that they stand for.
        remedy (str): What helps beside other names, and goes on from 'Rename these files, or '.

    Raises:
        ValueError: Naming the files whose names have other characters.
    """
    others = [name for key, name in keys if not key.isascii()]
    if others:
        raise ValueError(
            f'{len(others)} names are not ASCII, as the keys of an LMDB must be:\n{listing(others)}\n'
            f'Rename these files, or {remedy}'
        )


# ---------------------------------------------------------------------- of a folder, of a known set
def collect_folders(hr_folder: Path, lr_folder: Path | None, lr_name: str, scale: int) -> list[Pair]:
    """Pairs of a folder of HR images, with or without a folder of LR images.

    Args:
        hr_folder (Path): HR images.
        lr_folder (Path | None): LR images; None if they are to be made.
        lr_name (str): LR name for the HR name ``{name}``, without extension.
        scale (int): HR size / LR size.

    Returns:
        list[Pair]: Sorted by name, not empty.

    Raises:
        ValueError, OSError: If a folder holds no images, or names do not match.
    """
    hr = find_images(hr_folder, '{name}', scale)
    if not hr:
        raise FileNotFoundError(f'{hr_folder} holds no images.{_others(hr_folder, "{name}", scale)}')
    lr = find_images(lr_folder, lr_name, scale) if lr_folder else {}
    if lr_folder and not lr:
        raise FileNotFoundError(f'{lr_folder} holds no images named {lr_name}.{_others(lr_folder, lr_name, scale)}')
    return match_pairs(hr, lr, scale)


def _others(folder: Path, template: str, scale: int) -> str:
    left = passed_over(folder, template, scale)
    return f' There are {"; ".join(left)}.' if left else ''


def collect_layout(
    root: Path, layout: Layout, scale: int, only: Sequence[str] = (), without_lr: bool = False
) -> dict[Split, list[Pair]]:
    """Pairs of the parts of a known set that are there.

    Args:
        root (Path): The set's folder.
        layout (Layout): Its description.
        scale (int): HR size / LR size.
        only (Sequence[str]): Names of the parts wanted. Default: every part that is there.
        without_lr (bool): Leave the set's own LR images aside, because others are to be made. Default: False.

    Returns:
        dict[Split, list[Pair]]: Not empty, and neither are its lists.

    Raises:
        ValueError, OSError: If a wanted part, or all of the set, is missing: with where it is published and what is
            expected.
    """
    names = [split.name for split in layout.splits]
    unknown = [name for name in only if name not in names]
    if unknown:
        known = ', '.join(filter(None, names)) or 'no parts'
        raise ValueError(f'--split {" ".join(unknown)}: {layout.name} has {known}.')
    wanted = [split for split in layout.splits if not only or split.name in only]
    found: dict[Split, list[Pair]] = {}
    for split in wanted:
        for hr_template, lr_template in split.sources:
            hr = _images(root, hr_template, split, scale)
            lr = _images(root, lr_template, split, scale) if lr_template and not without_lr else {}
            if hr and layout.lr_kind == 'real' and not lr:
                raise ValueError(
                    f'{next(iter(hr.values())).parent} has HR images but no captured LR images for scale {scale}, '
                    f'which are the point of {layout.name}.\n{layout.describe(scale)}'
                )
            if hr:  # the first source whose HR images are there
                found[split] = match_pairs(hr, lr, scale)
                break
    missing = [split.name for split in wanted if split not in found]
    if len(missing) == len(wanted) or (only and missing):
        part = f' ({", ".join(missing)})' if only else ''
        raise FileNotFoundError(
            f'{root} holds no images of {layout.name}{part} for scale {scale} in a layout that is understood.\n'
            'Nothing is downloaded: get the set from its publisher, unpack it and point --root to it.\n'
            + layout.describe(scale)
        )
    return found


def _images(root: Path, template: str, split: Split, scale: int) -> dict[str, Path]:
    images = find_images(root, template, scale)
    if split.numbers is None:
        return images
    return {name: path for name, path in images.items() if name.isdecimal() and int(name) in split.numbers}
