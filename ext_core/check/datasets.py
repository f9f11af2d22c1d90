"""Dataset sections: keys, folders, LMDBs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.utils.file_client import FileClient
from basicsr.utils.registry import DATASET_REGISTRY

from ext_core.check import images, pairs, pools, sources
from ext_core.check.hints import did_you_mean, examples, look_up, section, unknown_type
from ext_core.check.places import nearby
from ext_core.errors import UserError
from ext_core.images.decoding import IMAGE_SUFFIXES

# of BasicSR's loaders and image datasets; use_shuffle stands in its option files, though nothing reads it
KEYS = frozenset(
    {
        'name',
        'type',
        'phase',
        'scale',
        'dataroot_gt',
        'dataroot_lq',
        'meta_info_file',
        'filename_tmpl',
        'io_backend',
        'gt_size',
        'use_hflip',
        'use_rot',
        'use_shuffle',
        'color',
        'mean',
        'std',
        'dataset_enlarge_ratio',
        'batch_size_per_gpu',
        'num_worker_per_gpu',
        'prefetch_mode',
        'num_prefetch_queue',
        'pin_memory',
        'persistent_workers',
    }
)


def problems(opt: dict, is_train: bool) -> Iterator[str]:
    """Everything that can be seen of the datasets without decoding training images."""
    datasets = section(opt, 'datasets')
    if is_train and datasets and 'train' not in datasets:
        yield f'datasets:train is missing.{did_you_mean("train", datasets)} Training needs it.'
    phases = ('train', 'val') if is_train else ('test', 'val')
    for phase, data_opt in datasets.items():
        where = f'datasets:{phase}'
        if str(phase).split('_')[0] not in phases:
            hint = did_you_mean(str(phase).split('_')[0], phases)
            yield f'{where}: datasets are called {phases[0]} or {phases[1]}_1, {phases[1]}_2, ... here.{hint}'
        elif not isinstance(data_opt, dict):
            yield f"{where} must be a section of keys and values, but is '{data_opt}'."
        else:
            yield from _dataset(opt, where, data_opt)


def _dataset(opt: dict, where: str, data_opt: dict) -> Iterator[str]:
    dataset = look_up(DATASET_REGISTRY, data_opt.get('type'))
    if dataset is None:
        yield unknown_type(where, data_opt.get('type'), 'dataset', DATASET_REGISTRY)
        return
    yield from _missing_keys(opt, where, data_opt, dataset)
    yield from _unknown_keys(where, data_opt, dataset)
    faults = [*_backend(where, data_opt), *_files(where, data_opt, dataset)]
    yield from faults
    if not faults and issubclass(dataset, PairedImageDataset) and _has_pairs(data_opt):
        yield from pairs.problems(opt, where, data_opt)
    elif not faults and pools.are_in(data_opt):
        yield from pools.problems(opt, where, data_opt)
    elif not faults:
        yield from pools.unreadable(where, data_opt, pools.alone(dataset, data_opt))


def _has_pairs(data_opt: dict) -> bool:
    return all(isinstance(data_opt.get(key), str) for key in ('dataroot_gt', 'dataroot_lq'))


# ---------------------------------------------------------------------- keys
def _missing_keys(opt: dict, where: str, data_opt: dict, dataset: type) -> Iterator[str]:
    needed = {'name'}.union(*(vars(base).get('NEEDS', ()) for base in dataset.__mro__))
    training = where == 'datasets:train'
    if training:
        needed |= {'batch_size_per_gpu', 'num_worker_per_gpu'}
    if issubclass(dataset, PairedImageDataset):
        needed |= {'dataroot_gt', 'dataroot_lq', 'io_backend'} | (
            {'gt_size', 'use_hflip', 'use_rot'} if training else set()
        )
    if issubclass(dataset, SingleImageDataset):
        needed |= {'dataroot_lq', 'io_backend'}
    for key in sorted(needed):
        if data_opt.get(key) is None:
            yield f'{where}:{key} is missing: {dataset.__name__} needs it.'
    if not isinstance(data_opt.get('name', ''), str):
        yield f"{where}:name must be text, but is '{data_opt['name']}'. Quote it if it is a number."
    if 'scale' in sources.keys_of(dataset) and opt.get('scale') is None:
        yield f'scale is missing: {dataset.__name__} needs it. Set it to the factor of super-resolution.'


def _unknown_keys(where: str, data_opt: dict, dataset: type) -> Iterator[str]:
    # BasicSR's other datasets take many keys, and helpers outside their package read some
    if dataset.__module__.startswith('basicsr.') and not issubclass(dataset, PairedImageDataset | SingleImageDataset):
        return
    read = sources.strings_of(dataset)
    if read is None:
        return
    for key in data_opt:
        if key not in KEYS | read | sources.host_strings():
            hint = did_you_mean(key, KEYS | sources.keys_of(dataset)) or ' Remove it, or correct its spelling.'
            yield f'{where}:{key}: unknown key; {dataset.__name__} would ignore it.{hint}'


def _backend(where: str, data_opt: dict) -> Iterator[str]:
    backend = data_opt.get('io_backend')
    if backend is None:
        return
    known = FileClient._backends
    name = backend.get('type') if isinstance(backend, dict) else None
    if name not in known:
        hint = did_you_mean(name, known) or f' Known: {", ".join(sorted(known))}.'
        yield f"{where}:io_backend:type: there is no backend '{name}'.{hint}"


# ---------------------------------------------------------------------- files
def _files(where: str, data_opt: dict, dataset: type) -> Iterator[str]:
    is_lmdb = section(data_opt, 'io_backend').get('type') == 'lmdb'
    lists_folders = issubclass(dataset, PairedImageDataset | SingleImageDataset) or pools.are_in(data_opt)
    for key, value in data_opt.items():
        if str(key).startswith('dataroot') and value is not None:
            for root in value if isinstance(value, list) else [value]:
                named = data_opt.get('meta_info_file') is not None and key != 'dataroot_real_lq'
                yield from _root(f'{where}:{key}', root, is_lmdb, lists_folders and not named)
    meta = data_opt.get('meta_info_file')
    if isinstance(meta, str) and not is_lmdb and not Path(meta).is_file():
        remedy = 'Correct the path, or remove the key: the folder is then listed instead.'
        if 'basicsr/data/meta_info' in meta:
            remedy += " BasicSR's package on PyPI lacks its meta_info files; they are in its GitHub repository."
        yield f'{where}:meta_info_file: file not found: {meta}. {remedy}'


def _root(where: str, root: Any, is_lmdb: bool, lists_folder: bool) -> Iterator[str]:
    if not isinstance(root, str):
        yield f"{where} must be the path of a folder, but is '{root}'."
        return
    path = Path(root)
    if not path.exists():
        yield f'{where}: folder not found: {path}.{nearby(path)} Correct the path, or prepare the data (docs/data.md).'
    elif not path.is_dir():
        yield f'{where}: {path} is a file. Name the folder that holds the images.'
    elif is_lmdb:
        yield from _lmdb(where, path)
    elif (path / 'data.mdb').is_file():
        yield f'{where}: {path} is an LMDB. Set io_backend:type: lmdb.'
    elif lists_folder:
        yield from _folder(where, path)
    elif not any(path.iterdir()):
        yield f'{where}: {path} is empty. Put images there, or correct the path.'


def _lmdb(where: str, path: Path) -> Iterator[str]:
    if not (path / 'data.mdb').is_file() and any(
        name for name in images.folder_names(path) if Path(name).suffix.lower() in IMAGE_SUFFIXES
    ):
        yield f'{where}: {path} is a folder of images, not an LMDB. Set io_backend:type: disk.'
    elif not path.name.endswith('.lmdb'):
        yield f'{where}: BasicSR reads LMDB folders whose name ends in .lmdb only, but this is {path}. Rename it.'
    else:
        damage = images.lmdb_damage(path)
        if damage:
            yield f'{where}: {damage}'


def _folder(where: str, path: Path) -> Iterator[str]:
    try:
        names = images.folder_names(path)
    except UserError as error:
        yield f'{where}: {error}'
        return
    strange = [name for name in names if Path(name).suffix.lower() not in IMAGE_SUFFIXES]
    if len(strange) == len(names):
        inside = [entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith('.')]
        hint = f' Subfolders are not searched; did you mean {path / sorted(inside)[0]}?' if inside else ''
        yield f'{where}: no images in {path}.{hint} Put images there, or correct the path.'
    elif strange:
        yield (
            f'{where}: {examples(strange)} in {path}: not image files, but every file of the folder is read. '
            'Move them away.'
        )
