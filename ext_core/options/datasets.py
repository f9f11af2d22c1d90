"""Dataset sections: keys, folders, LMDBs; pairs and pools of images: do they match, fit and decode?

Headers of at most ``image_folders.LOOKED_AT`` images of a set are read, evenly spaced; validation images are decoded or
their checksums verified, because a damaged one would stop the run at its first validation, hours later.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.utils.file_client import FileClient
from basicsr.utils.registry import DATASET_REGISTRY

from ext_core.options import image_files
from ext_core.options.declared import UNREAD_IN_DATASETS, dataset_keys, is_open
from ext_core.options.image_folders import Image, images_of, list_fault, listed, root_fault, spread
from ext_core.options.keys import misplaced, missing, section_problems
from ext_core.options.problems import (
    LAUNCHER_DATASETS,
    Problem,
    did_you_mean,
    examples,
    is_number,
    section,
    unknown_type,
)
from ext_data.roots import LONGEST, partners, roots_of
from ext_models.registries import look_up

_ABSENT = 'Remove the key, or correct dataroot_gt, dataroot_lq or filename_tmpl.'


def problems(opt: dict, is_train: bool) -> Iterator[Problem]:
    """Everything that can be seen of the datasets without decoding training images."""
    datasets, wanted = section(opt, 'datasets'), 'train' if is_train else 'test'
    phases = (wanted, 'val')
    if isinstance(opt.get('datasets'), dict) and not any(str(phase).split('_')[0] == wanted for phase in datasets):
        hint = did_you_mean(wanted, datasets) if datasets else ' A dataset that is ~ is left out.'
        yield Problem(f'datasets:{wanted}', f'is missing. Add it to the option file.{hint}')
    owners: dict[Any, str] = {}  # by the name of a set, under which figures and pictures are kept
    for phase, data_opt in datasets.items():
        where, kind = f'datasets:{phase}', phase.split('_')[0]
        if kind not in phases or (kind == 'train' and phase != 'train'):
            known = f'{wanted}{"" if is_train else ", test_1, ..."}, val, val_1, ...'
            yield Problem(where, f'unknown kind of dataset. There are {known}{did_you_mean(kind, phases)}')
        elif not isinstance(data_opt, dict):
            yield Problem(where, f"must be a section of keys and values, but is '{data_opt}'.")
        else:
            yield from _dataset(opt, where, data_opt)
            name = str(data_opt.get('name'))
            first = owners.setdefault(name, phase) if kind != 'train' else phase
            # the same set twice, as --demo makes of several, gives the same figures
            if first != phase and datasets[first] | {'phase': None} != data_opt | {'phase': None}:
                yield Problem(
                    f'{where}:name',
                    f"'{name}' is the name of datasets:{first} too, so figures, best values and pictures of the "
                    'two would be mixed. Give each set a name of its own.',
                )


def _dataset(opt: dict, where: str, data_opt: dict) -> Iterator[Problem]:
    dataset = look_up(DATASET_REGISTRY, data_opt.get('type'))
    if dataset is None:
        yield unknown_type(where, data_opt.get('type'), 'dataset', [name for name, _ in DATASET_REGISTRY])
        return
    known, unused = dataset_keys(dataset, where == 'datasets:train')
    values = {key: value for key, value in data_opt.items() if key not in {'phase', 'scale'} - known.keys()}
    stock = dataset.__module__.startswith('basicsr.')
    for key in [key for key in values if key not in known and key not in unused]:
        idle = key in UNREAD_IN_DATASETS and (stock or key == 'use_shuffle' or values[key] in (None, '{}'))
        if idle or (is_open(dataset) and not misplaced(opt, key)):
            del values[key]  # find_warnings names those that nobody reads
    if 'scale' in known and opt.get('scale') is None:
        text = f'is missing: {dataset.__name__} needs it. Set it to the factor of super-resolution.'
        yield Problem('scale', text)
        values['scale'] = 1
    checked = list(section_problems(opt, where, values, {**unused, **known}, dataset.__name__, needs=False))
    checked += [
        missing(f'{where}:{key}', dataset.__name__)
        for key, parameter in known.items()
        if parameter.needed and values.get(key) is None
    ]
    backend = data_opt.get('io_backend')
    if backend is not None and 'io_backend' in known:
        name = backend.get('type') if isinstance(backend, dict) else None
        if name not in FileClient._backends:
            hint = did_you_mean(name, FileClient._backends) or f' Known: {", ".join(sorted(FileClient._backends))}.'
            checked.append(Problem(f'{where}:io_backend:type', f"there is no backend '{name}'.{hint}"))
    checked += _roots(where, data_opt, dataset)
    yield from checked
    if checked:
        return
    if issubclass(dataset, PairedImageDataset):
        any_ending, found = 'subfolders' in known, []
        for gt_root, lq_root in zip(roots_of(data_opt['dataroot_gt']), roots_of(data_opt['dataroot_lq']), strict=False):
            found.append((yield from _pairs(opt, where, data_opt, Path(gt_root), Path(lq_root), any_ending)))
        lq_names = sorted((name for names in found for name in names), key=lambda name: (Path(name).stem, name))
        alike = [pair for pair in pairwise(lq_names) if Path(pair[0]).stem == Path(pair[1]).stem]
        if where != 'datasets:train' and alike and section(opt, 'val').get('save_img'):
            text = f'{" and ".join(alike[0])} would be saved as one picture (val:save_img). Rename one of them.'
            yield Problem(where, text)
        if where == 'datasets:train' and all(found) and not data_opt.get('dataroot_weights'):
            yield from filling(opt, data_opt, len(lq_names))
    elif 'dataroot_real_lq' in known and where == 'datasets:train':
        yield from _pools(opt, where, data_opt, {'dataroot_gt': 1, 'dataroot_real_lq': opt['scale']})
    elif 'dataroot_real_lq' in known:
        yield from _pools(opt, where, data_opt, dict.fromkeys(('dataroot_gt', 'dataroot_real_lq')))
    else:
        yield from _pools(opt, where, data_opt, dict.fromkeys(getattr(dataset, 'POOLS', ())))


def unread(opt: dict) -> Iterator[Problem]:
    """Keys of dataset sections that nothing reads in this run."""
    for phase, data_opt in section(opt, 'datasets').items():
        dataset = look_up(DATASET_REGISTRY, data_opt.get('type'))
        known, training = dataset_keys(dataset, phase == 'train')
        for key in [key for key, value in data_opt.items() if value not in (None, '{}')]:
            if key in known or key in LAUNCHER_DATASETS:
                continue
            text = f'{dataset.__name__} does not read this key; it has no effect.'
            if key in training:
                text = 'is read in training only; here it has no effect. It belongs in datasets:train.'
            elif is_open(dataset):
                text = f'{dataset.__name__} does not declare this key (docs/extending.md), so nobody checks it.'
            if key in training or not is_open(dataset) or not dataset.__module__.startswith('basicsr.'):
                yield Problem(f'datasets:{phase}:{key}', text)


# ---------------------------------------------------------------------- folders and LMDBs
def _roots(where: str, data_opt: dict, dataset: type) -> Iterator[Problem]:
    is_lmdb = section(data_opt, 'io_backend').get('type') == 'lmdb'
    meta, deep = data_opt.get('meta_info_file'), bool(data_opt.get('subfolders'))
    every = issubclass(dataset, PairedImageDataset | SingleImageDataset) or 'dataroot_real_lq' in data_opt
    for key, value in data_opt.items():
        if key.startswith('dataroot') and key != 'dataroot_weights' and value is not None:
            for root in value if isinstance(value, list) else [value]:
                if not isinstance(root, str):
                    yield Problem(f'{where}:{key}', f"must be the path of a folder, but is '{root}'.")
                    continue
                fault = root_fault(Path(root), is_lmdb, every and (meta is None or key == 'dataroot_real_lq'), deep)
                if fault:
                    yield Problem(f'{where}:{key}', fault)
    for key in ('meta_info_file', 'meta_info'):
        lists = data_opt.get(key)
        if is_lmdb or not isinstance(lists, str):
            continue
        if not Path(lists).is_file():
            remedy = 'Correct the path, or remove the key: the folder is then listed instead.'
            if 'basicsr/data/meta_info' in lists:
                remedy += " BasicSR's package on PyPI lacks its meta_info files; they are in its GitHub repository."
            yield Problem(f'{where}:{key}', f'file not found: {lists}. {remedy}')
        elif fault := list_fault(Path(lists)):
            yield Problem(f'{where}:{key}', fault)
        elif key == 'meta_info' and isinstance(root := data_opt.get('dataroot_gt'), str):
            images = images_of(Path(root), spread(listed(Path(root), False, lists)), False)
            yield from _absent(where, lists, images, 'Correct the list, or dataroot_gt.', key)


def _absent(
    where: str, meta: str | None, images: Sequence[Image], remedy: str, key: str = 'meta_info_file'
) -> list[Problem]:
    """What is wrong with the files that ``meta_info_file`` (``key``) lists."""
    if meta is None:
        return []
    if not images:
        text = 'lists no images. Remove the key: the folder is then listed instead.'
        return [Problem(f'{where}:{key}', text)]
    absent = [image.name for image in images if isinstance(image.source, Path) and not image.source.is_file()]
    text = f'lists files that do not exist: {examples(absent)}. {remedy}'
    return [Problem(f'{where}:{key}', text)] if absent else []


# ---------------------------------------------------------------------- pools of images
def _pools(opt: dict, where: str, data_opt: dict, pools: dict[str, int | None]) -> Iterator[Problem]:
    """Check images without partners.

    Args:
        opt (dict): Options of the run.
        where (str): Colon path of the section.
        data_opt (dict): The section.
        pools (dict[str, int | None]): Key of each pool, with the factor by which crops of gt_size are smaller there;
            None where nothing is said of crops.
    """
    crop, is_lmdb = data_opt.get('gt_size'), section(data_opt, 'io_backend').get('type') == 'lmdb'
    training = where == 'datasets:train'
    if training and any(pools.values()):
        yield from _divisible(crop, opt.get('scale'))
    every = [(key, factor, Path(root)) for key, factor in pools.items() for root in roots_of(data_opt[key])]
    for key, factor, root in every:
        meta = data_opt.get('meta_info_file') if key == 'dataroot_gt' else None
        names = listed(root, is_lmdb, meta, bool(data_opt.get('subfolders')))
        images = images_of(root, spread(names), is_lmdb)
        faults = _absent(where, meta, images, f'Remove the key, or correct {key}.')
        yield from faults
        if faults:
            continue
        if not training:
            yield from _damaged(where, images, 'Replace or delete the file.')
            continue
        looks = {image.name: image_files.look(image.source) for image in images}
        yield from _unusable(
            f'{where}:{key}', data_opt, [f'{n}: {why}' if why else None for n, (_, why) in looks.items()]
        )
        if factor:
            yield from _fitting(crop, {name: size for name, (size, _) in looks.items() if size}, factor)
            if key == 'dataroot_gt':
                yield from filling(opt, data_opt, len(names))


def _damaged(where: str, images: Sequence[Image], remedy: str) -> Iterator[Problem]:
    for image in images:
        damage = image_files.damage(image.source)
        if damage:
            yield Problem(where, f'{image.name} cannot be read: {damage}. {remedy}')


def _unusable(where: str, data_opt: dict, faults: Sequence[str | None]) -> Iterator[Problem]:
    """Training samples whose headers say that the run would stop at them sooner or later."""
    bad, bearable = [fault for fault in faults if fault], data_opt.get('max_bad_samples', 10)
    if bad and (len(bad) == len(faults) or (is_number(bearable) and len(bad) > bearable)):
        yield Problem(
            where,
            f'{len(bad)} of the {len(faults)} samples looked at cannot be used, where max_bad_samples ({bearable}) may '
            f'be passed over: {"; ".join(bad[:3])}{"; ..." if len(bad) > 3 else ""}. Replace or delete these files.',
        )


def _divisible(crop: Any, scale: Any) -> Iterator[Problem]:
    if is_number(crop) and is_number(scale) and scale >= 1 and crop % scale:
        text = f'{crop} is not divisible by scale ({scale}). Choose a multiple of it.'
        yield Problem('datasets:train:gt_size', text)


def _fitting(crop: Any, sizes: dict[str, image_files.Size], factor: int = 1) -> Iterator[Problem]:
    """Crops must fit into the smallest of the images, which are low-resolution ones by ``factor``."""
    if not is_number(crop) or not sizes:
        return
    name = min(sizes, key=lambda name: (min(sizes[name]), name))
    width, height = sizes[name]
    if min(width, height) * factor < crop:
        yield Problem(
            'datasets:train:gt_size',
            f'crops of {crop // factor} do not fit into {name}, which is {width} x {height}. Lower gt_size to at most '
            f'{min(width, height) * factor}, or remove the smaller images.',
        )


def filling(opt: dict, data_opt: dict, count: int) -> Iterator[Problem]:
    """The training images must fill one batch."""
    batch, ratio = data_opt.get('batch_size_per_gpu'), data_opt.get('dataset_enlarge_ratio', 1)
    gpus = 1 if opt.get('dist') else opt.get('num_gpu', 0)
    if not (is_number(batch) and is_number(ratio) and is_number(gpus)):
        return
    batch *= max(1, gpus)
    if count * ratio > LONGEST:
        text = f'{count} images times {ratio:g} make an epoch of more than {LONGEST:,} samples. Lower it.'
        yield Problem('datasets:train:dataset_enlarge_ratio', text)
        return
    share = math.ceil(count * ratio / opt.get('world_size', 1))
    if share < batch:
        yield Problem(
            'datasets:train',
            f'{count} images times dataset_enlarge_ratio {ratio} do not fill one batch of {batch}. Lower '
            f'batch_size_per_gpu, or set dataset_enlarge_ratio: {math.ceil(batch * ratio / max(1, share))}.',
        )


# ---------------------------------------------------------------------- pairs
def _pairs(
    opt: dict, where: str, data_opt: dict, gt_root: Path, lq_root: Path, any_ending: bool
) -> Generator[Problem, None, list[str]]:
    """Low-quality and ground-truth images of two roots: do they match in number, name and size?

    ``any_ending`` says that the endings of a pair's files may differ. Returns the names of the low-quality images; none
    where they do not match.
    """
    is_lmdb, deep = section(data_opt, 'io_backend').get('type') == 'lmdb', bool(data_opt.get('subfolders'))
    meta = None if is_lmdb else data_opt.get('meta_info_file')
    template = str(data_opt.get('filename_tmpl') or '{}')
    names = listed(gt_root, is_lmdb, meta, deep)
    lq_names = listed(lq_root, is_lmdb, None, deep) if any_ending or meta is None else []
    if any_ending:
        try:
            wanted = partners(names, lq_names, template, is_lmdb)
        except ValueError as error:
            yield Problem(f'{where}:dataroot_lq', f'in {lq_root}, {error}')
            return []
    else:
        wanted = {
            name: template.format(name) if is_lmdb else f'{template.format(Path(name).stem)}{Path(name).suffix}'
            for name in names
        }
    chosen = spread(sorted(wanted))
    if meta is None:
        faults = _unmatched(where, wanted, set(lq_names), lq_root, gt_root)
    else:
        files = [
            image
            for name in chosen
            for image in (Image(str(gt_root / name), gt_root / name), _lq(lq_root, wanted[name]))
        ]
        faults = _absent(where, meta, files, _ABSENT)
    yield from faults
    if faults:
        return []
    lqs, gts = images_of(lq_root, [wanted[name] for name in chosen], is_lmdb), images_of(gt_root, chosen, is_lmdb)
    looks = [(image_files.look(lq.source), image_files.look(gt.source)) for lq, gt in zip(lqs, gts, strict=True)]
    training, scale = where == 'datasets:train', opt.get('scale')
    if training:
        named = [((lq.name, one[1]), (gt.name, two[1])) for lq, gt, (one, two) in zip(lqs, gts, looks, strict=True)]
        whys = [', '.join(f'{name}: {why}' for name, why in pair if why) or None for pair in named]
        yield from _unusable(where, data_opt, whys)
    else:
        both = [image for pair in zip(lqs, gts, strict=True) for image in pair]
        yield from _damaged(where, both, 'Replace the file, or delete it and its partner.')
    known = [
        (lq.name, one[0], gt.name, two[0])
        for lq, gt, (one, two) in zip(lqs, gts, looks, strict=True)
        if one[0] and two[0]
    ]
    if is_number(scale) and scale >= 1:
        yield from _sizes(where, known, int(scale))
    if training:
        yield from _divisible(data_opt.get('gt_size'), scale)
        yield from _fitting(data_opt.get('gt_size'), {gt: size for _, _, gt, size in known})
    return list(wanted.values())


def _lq(root: Path, name: str) -> Image:
    return Image(str(root / name), root / name)


def _unmatched(where: str, wanted: dict[str, str], present: set[str], lq_root: Path, gt_root: Path) -> list[Problem]:
    lonely = [gt for gt, lq in wanted.items() if lq not in present]
    extra = sorted(present - set(wanted.values()))
    if not lonely and not extra:
        return []
    parts = [f'{len(wanted)} images in {gt_root}, {len(present)} in {lq_root}']
    if lonely:
        parts.append(f'without a low-quality partner: {examples(lonely)}')
    if extra:
        parts.append(f'without a ground truth: {examples(extra)}')
    remedy = 'Add or remove files, or set filename_tmpl to how the low-quality files are named.'
    if lonely and extra:
        gt, lq = Path(lonely[0]), Path(extra[0])
        stems = {Path(name).stem for name in present}
        templates = [Path(name).stem.replace(gt.stem, '{}', 1) for name in extra if gt.stem in Path(name).stem]
        template = max(  # that most of the first images speak for: 1 is in 1x4 and in 10x4
            templates[:50],
            key=lambda template: sum(template.replace('{}', Path(name).stem) in stems for name in lonely[:50]),
            default='{}',
        )
        if template != '{}':
            remedy = f"Set filename_tmpl: '{template}'."
        elif gt.stem == lq.stem:
            remedy = f'Both need the same file name extension, but they have {gt.suffix} and {lq.suffix}.'
    return [Problem(where, f'the pairs do not match: {"; ".join(parts)}. {remedy}')]


def _sizes(where: str, known: list[tuple[str, Any, str, Any]], scale: int) -> Iterator[Problem]:
    # in validation BasicSR crops a ground truth that is no multiple of the scale; in training it refuses it
    slack = 1 if where == 'datasets:train' else scale
    bad = [
        pair
        for pair in known
        if any(not 0 <= large - small * scale < slack for small, large in zip(pair[1], pair[3], strict=True))
    ]
    if not bad:
        return
    lq, small, gt, large = bad[0]
    ratios = {g / n for _, lq_size, _, gt_size in bad for n, g in zip(lq_size, gt_size, strict=True)}
    factor = ratios.pop() if len(ratios) == 1 and len(bad) == len(known) else None
    remedy = (
        f'Their ratio is {factor:.0f} throughout: set scale: {factor:.0f}, or correct dataroot_lq.'
        if factor and factor.is_integer()
        else 'Make the low-quality images anew, or correct dataroot_lq or scale.'
    )
    yield Problem(
        where,
        f'{gt} is {large[0]} x {large[1]}, which is not scale ({scale}) times {lq}, {small[0]} x {small[1]} (width x '
        f'height); so are {len(bad)} of the {len(known)} pairs looked at. {remedy}',
    )
