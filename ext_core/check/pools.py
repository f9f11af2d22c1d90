"""Pools of unpaired images: ground truths, and real low-quality images of other scenes."""

from collections.abc import Iterator
from pathlib import Path

from ext_core.check import crops, images
from ext_core.check.hints import is_number, section

Sources = list[tuple[str, Path | bytes]]  # how messages call images, and their files or contents
_UNPAIRED = ('dataroot_gt', 'dataroot_real_lq')
_IGNORED = ('filename_tmpl', 'color', 'mean', 'std')  # of paired datasets; BasicSR's option files may hold them


def are_in(data_opt: dict) -> bool:
    """Whether a dataset section names both pools of unpaired images."""
    return all(isinstance(data_opt.get(key), str) for key in _UNPAIRED)


def alone(dataset: type, data_opt: dict) -> tuple[str, ...]:
    """The keys of pools that a dataset class reads without partners, by its attribute ``POOLS``."""
    return tuple(key for key in getattr(dataset, 'POOLS', ()) if isinstance(data_opt.get(key), str))


def unreadable(where: str, data_opt: dict, keys: tuple[str, ...]) -> Iterator[str]:
    """Images of pools that stand alone which cannot be used."""
    for key in keys:
        faults, _, sources = _looked_at(where, data_opt, key)
        yield from faults
        yield from _unusable(where, data_opt, key, sources)


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
    for key, factor in zip(_UNPAIRED, factors, strict=True):
        faults, count, sources = _looked_at(where, data_opt, key)
        yield from faults
        yield from _unusable(where, data_opt, key, sources)
        if training:
            sizes = [(name, images.look(source)[0]) for name, source in sources]
            yield from crops.fitting(data_opt.get('gt_size'), sizes, int(factor))
            if key == 'dataroot_gt' and not faults:
                yield from crops.filling(opt, data_opt, count)


def _unusable(where: str, data_opt: dict, key: str, sources: Sources) -> Iterator[str]:
    """By their headers in training, by their contents in validation."""
    if where != 'datasets:train':
        yield from crops.damaged(where, sources, 'Replace or delete the file.')
        return
    faults = [(name, images.look(source)[1]) for name, source in sources]
    yield from crops.unusable(f'{where}:{key}', data_opt, [f'{name}: {why}' if why else None for name, why in faults])


def _looked_at(where: str, data_opt: dict, key: str) -> tuple[list[str], int, Sources]:
    """What is wrong with a pool's listing, its number of images, and names and sources of those to look at."""
    root = Path(data_opt[key])
    if _is_lmdb(data_opt):
        stored = images.lmdb_sizes(root)
        keys = crops.spread(sorted(stored))
        values = images.lmdb_values(root, keys)
        return [], len(stored), [(f'{name} in {root}', value) for name, value in zip(keys, values, strict=True)]
    meta = data_opt.get('meta_info_file') if key == 'dataroot_gt' else None
    files = [root / name for name in (images.folder_names(root) if meta is None else crops.listed_names(meta))]
    chosen = crops.spread(files)
    remedy = f'Remove the key, or correct {key}.'
    faults = [] if meta is None else crops.absent(where, chosen, remedy)
    return faults, len(files), [] if faults else [(str(path), path) for path in chosen]


def _is_lmdb(data_opt: dict) -> bool:
    return section(data_opt, 'io_backend').get('type') == 'lmdb'
