"""What pairs and pools of images have in common: do crops and batches fit, are files there and whole?"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ext_core.check import images
from ext_core.check.hints import examples, is_number
from ext_core.check.images import Size

LOOKED_AT = 200  # images whose headers are read; of larger sets, that many evenly spaced ones


def spread(items: Sequence) -> list:
    """At most LOOKED_AT items, evenly spaced."""
    step = max(1, math.ceil(len(items) / LOOKED_AT))
    return list(items[::step])


def listed_names(meta_info_file: str) -> list[str]:
    """File names in BasicSR's meta info: what stands before the first space of each line."""
    lines = Path(meta_info_file).read_text(encoding='utf-8').splitlines()
    return [line.split(' ')[0] for line in lines if line.strip()]


def absent(where: str, files: Sequence[Path], remedy: str) -> list[str]:
    """What is wrong with the files that ``meta_info_file`` lists."""
    if not files:
        return [f'{where}:meta_info_file lists no images. Remove the key: the folder is then listed instead.']
    missing = [str(path) for path in files if not path.is_file()]
    return [f'{where}:meta_info_file lists files that do not exist: {examples(missing)}. {remedy}'] if missing else []


def damaged(where: str, contents: Iterable[tuple[str, Path | bytes]], remedy: str) -> Iterator[str]:
    """Validation images: a damaged one would otherwise stop the run at its first validation, hours later."""
    for name, content in contents:
        damage = images.damage(content)
        if damage:
            yield f'{where}: {name} cannot be read: {damage}. {remedy}'


def unusable(where: str, data_opt: dict, faults: Sequence[str | None]) -> Iterator[str]:
    """Training images whose headers say that the run would stop at them sooner or later.

    Args:
        where (str): Colon path of the section.
        data_opt (dict): The section.
        faults (Sequence[str | None]): For each sample looked at, its files and what is wrong with them, or None.
    """
    bad = [fault for fault in faults if fault]
    bearable = data_opt.get('max_bad_samples', 10)
    if bad and (len(bad) == len(faults) or (is_number(bearable) and len(bad) > bearable)):
        yield (
            f'{where}: {len(bad)} of the {len(faults)} samples looked at cannot be used, where max_bad_samples '
            f'({bearable}) may be passed over: {"; ".join(bad[:3])}{"; ..." if len(bad) > 3 else ""}. Replace or '
            'delete these files.'
        )


def divisible(crop: Any, scale: Any) -> Iterator[str]:
    """The crop of the ground truth must have a low-resolution counterpart."""
    if is_number(crop) and is_number(scale) and crop % scale:
        yield f'datasets:train:gt_size: {crop} is not divisible by scale ({scale}). Choose a multiple of it.'


def fitting(crop: Any, sizes: Iterable[tuple[str, Size | None]], scale: int = 1) -> Iterator[str]:
    """Crops must fit into the smallest of the images.

    Args:
        crop (Any): ``gt_size``.
        sizes (Iterable[tuple[str, Size | None]]): How messages call an image, and its (width, height) if known.
        scale (int): Of low-resolution images, from which crops of gt_size / scale are taken.
    """
    known = [(min(size), name, size) for name, size in sizes if size]
    if not is_number(crop) or not known:
        return
    smallest, name, size = min(known)
    if smallest * scale < crop:
        yield (
            f'datasets:train:gt_size: crops of {crop // scale} do not fit into {name}, which is {size[0]} x '
            f'{size[1]}. Lower gt_size to at most {smallest * scale}, or remove the smaller images.'
        )


def filling(opt: dict, data_opt: dict, count: int) -> Iterator[str]:
    """The training images must fill one batch."""
    batch, ratio = data_opt.get('batch_size_per_gpu'), data_opt.get('dataset_enlarge_ratio', 1)
    gpus = 1 if opt.get('dist') else opt.get('num_gpu', 0)
    if not (is_number(batch) and is_number(ratio) and is_number(gpus)):
        return
    batch *= max(1, gpus)
    share = math.ceil(count * ratio / opt.get('world_size', 1))
    if share < batch:
        yield (
            f'datasets:train: {count} images times dataset_enlarge_ratio {ratio} do not fill one batch of {batch}. '
            f'Lower batch_size_per_gpu, or set dataset_enlarge_ratio: {math.ceil(batch * ratio / max(1, share))}.'
        )
