"""Pools of unpaired images: ground truths, and real low-quality images of other scenes."""

from collections.abc import Iterator
from pathlib import Path

from ext_core.check import crops, images
from ext_core.check.hints import is_number, section
from ext_core.check.images import Size

POOLS = ('dataroot_gt', 'dataroot_real_lq')
_IGNORED = ('filename_tmpl', 'color', 'mean', 'std')  # of paired datasets; BasicSR's option files may hold them


def are_in(data_opt: dict) -> bool:
    """Whether a dataset section names both pools."""
    return all(isinstance(data_opt.get(key), str) for key in POOLS)


def problems(opt: dict, where: str, data_opt: dict) -> Iterator[str]:
    """Check the pools of a dataset section whose folders exist.

    Args:
        opt (dict): Options of the run.
        where (str): Colon path of the section.
        data_opt (dict): The section.
    """
    for key in _IGNORED:
        if data_opt.get(key) not in (None, '{}'):
            yield f'{where}:{key}: {data_opt["type"]} ignores it: its images are RGB in [0, 1]. Remove it.'
    training = where == 'datasets:train'
    scale = opt.get('scale')
    factors = (1, scale if is_number(scale) and scale >= 1 else 1)
    if training:
        if not is_number(data_opt.get('gt_size')):
            yield f'{where}:gt_size must be the side of the crops in pixels: {data_opt["type"]} needs it in training.'
        yield from crops.divisible(data_opt.get('gt_size'), scale)
    for key, factor in zip(POOLS, factors, strict=True):
        faults, count, sizes = _looked_at(where, data_opt, key)
        yield from faults
        if training:
            yield from crops.fitting(data_opt.get('gt_size'), sizes, int(factor))
            if key == 'dataroot_gt' and not faults:
                yield from crops.filling(opt, data_opt, count)
        elif not _is_lmdb(data_opt):
            yield from crops.damaged(where, [name for name, _ in sizes], 'Replace or delete the file.')


def _looked_at(where: str, data_opt: dict, key: str) -> tuple[list[str], int, list[tuple[str, Size | None]]]:
    """What is wrong with a pool's listing, its number of images, and the sizes of those looked at."""
    root = Path(data_opt[key])
    if _is_lmdb(data_opt):
        stored = images.lmdb_sizes(root)
        return [], len(stored), [(f'{name} in {root}', stored[name]) for name in crops.spread(sorted(stored))]
    meta = data_opt.get('meta_info_file') if key == 'dataroot_gt' else None
    files = [root / name for name in (images.folder_names(root) if meta is None else crops.listed_names(meta))]
    chosen = crops.spread(files)
    remedy = f'Remove the key, or correct {key}.'
    faults = [] if meta is None else crops.absent(where, chosen, remedy)
    return faults, len(files), [] if faults else [(str(path), images.file_size(path)) for path in chosen]


def _is_lmdb(data_opt: dict) -> bool:
    return section(data_opt, 'io_backend').get('type') == 'lmdb'
