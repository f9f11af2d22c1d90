"""Finding the pairs of a known set, or of two folders."""

from collections.abc import Sequence
from pathlib import Path

from ext_data.preparation.layouts import Layout, Split
from ext_data.preparation.pairs import Pair, find_images, match_pairs, passed_over


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
        for source in split.sources:
            hr = _images(root, source.hr, split, scale)
            lr = _images(root, source.lr, split, scale) if source.lr and not without_lr else {}
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
