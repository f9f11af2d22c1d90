"""Dataset sections: keys, folders, LMDBs; pairs and pools of images: do they match, fit and decode?

Headers of at most ``image_folders.LOOKED_AT`` images of a set are read, evenly spaced; validation images are decoded or
their checksums verified, because a damaged one would stop the run at its first validation, hours later.
"""

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
from ext_core.options.image_folders import Image, Root, list_fault, root_fault, roots, spread
from ext_core.options.keys import misplaced, section_problems
from ext_core.options.problems import (
    LAUNCHER_DATASETS,
    Problem,
    did_you_mean,
    examples,
    is_number,
    section,
    unknown_type,
)
from ext_data.decoding import is_scaled
from ext_data.roots import partners
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
    training = where == 'datasets:train'
    known, unused = dataset_keys(dataset, training)
    unused = {key: parameter._replace(default=None) for key, parameter in unused.items()}
    values = {key: value for key, value in data_opt.items() if key not in LAUNCHER_DATASETS - known.keys()}
    stock = dataset.__module__.startswith('basicsr.')
    for key in [key for key in values if key not in known]:
        idle = key in UNREAD_IN_DATASETS and (stock or key == 'use_shuffle' or values[key] in (None, '{}'))
        if key in unused:
            idle = values[key] is None
        if idle or (key not in unused and is_open(dataset) and not misplaced(opt, key)):
            del values[key]  # find_warnings names those that nobody reads
    if 'scale' in known and opt.get('scale') is None:
        text = f'is missing: {dataset.__name__} needs it. Set it to the factor of super-resolution.'
        yield Problem('scale', text)
        values['scale'] = 1
    checked = list(section_problems(opt, where, values, {**unused, **known}, dataset.__name__))
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
    crop, scale, paired = data_opt.get('gt_size'), opt.get('scale'), issubclass(dataset, PairedImageDataset)
    cropped = training and (paired or 'dataroot_real_lq' in known)
    if cropped and is_number(crop) and is_number(scale) and scale >= 1 and crop % scale:
        text = f'{crop} is not divisible by scale ({scale}). Choose a multiple of it.'
        yield Problem('datasets:train:gt_size', text)
    if paired:
        found = []
        for gt_root, lq_root in zip(roots(data_opt, 'dataroot_gt'), roots(data_opt, 'dataroot_lq'), strict=False):
            found += yield from _pairs(opt, where, data_opt, gt_root, lq_root, any_ending='subfolders' in known)
        lq_names = sorted(found, key=lambda name: (Path(name).stem, name))
        alike = [pair for pair in pairwise(lq_names) if Path(pair[0]).stem == Path(pair[1]).stem]
        if not training and alike and section(opt, 'val').get('save_img'):
            text = f'{" and ".join(alike[0])} would be saved as one picture (val:save_img). Rename one of them.'
            yield Problem(where, text)
        return
    real = ('dataroot_gt', 'dataroot_real_lq') if 'dataroot_real_lq' in known else ()
    for key in real or getattr(dataset, 'POOLS', ()):
        factor = opt['scale'] if key == 'dataroot_real_lq' else 1  # by which crops of gt_size are smaller there
        meta = data_opt.get('meta_info_file') if key == 'dataroot_gt' else None
        for root in roots(data_opt, key):
            images = root.images(spread(root.names(meta)))
            faults = _absent(where, meta, images, f'Remove the key, or correct {key}.')
            yield from faults
            if faults:
                continue
            samples = [(image,) for image in images]
            sizes = yield from _readable(where, f'{where}:{key}', data_opt, samples, 'Replace or delete the file.')
            if cropped:
                yield from _fitting(crop, {name: size for sample in sizes for name, size in sample}, factor)


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
        for key in ('meta_info_file', 'subfolders') if section(data_opt, 'io_backend').get('type') == 'lmdb' else ():
            if data_opt.get(key):
                text = 'has no effect with LMDBs, of which all images are used.'
                yield Problem(f'datasets:{phase}:{key}', text)


# ---------------------------------------------------------------------- folders and LMDBs
def _roots(where: str, data_opt: dict, dataset: type) -> Iterator[Problem]:
    is_lmdb, meta = section(data_opt, 'io_backend').get('type') == 'lmdb', data_opt.get('meta_info_file')
    every = issubclass(dataset, PairedImageDataset | SingleImageDataset) or 'dataroot_real_lq' in data_opt
    for key, value in data_opt.items():
        if key.startswith('dataroot') and key != 'dataroot_weights' and value is not None:
            strange = [root for root in (value if isinstance(value, list) else [value]) if not isinstance(root, str)]
            for root in strange:
                yield Problem(f'{where}:{key}', f"must be the path of a folder, but is '{root}'.")
            for root in () if strange else roots(data_opt, key):
                fault = root_fault(root, every and (meta is None or key == 'dataroot_real_lq'))
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
        elif key == 'meta_info' and isinstance(data_opt.get('dataroot_gt'), str):
            (root,) = roots(data_opt, 'dataroot_gt')
            images = root.images(spread(root.names(lists)))
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


# ---------------------------------------------------------------------- images
Named = list[tuple[str, image_files.Size]]  # images by the names of messages, with (width, height)


def _readable(
    where: str, of: str, data_opt: dict, samples: Sequence[Sequence[Image]], remedy: str
) -> Generator[Problem, None, list[Named]]:
    """Images that cannot be used: of validations each, of a training where the run would stop at them sooner or later.

    Args:
        where (str): Colon path of the section.
        of (str): That of the key that too many unusable samples are reported under.
        data_opt (dict): The section.
        samples (Sequence[Sequence[Image]]): The images that are drawn together.
        remedy (str): Of a damaged validation image.

    Returns:
        list[Named]: Names and sizes of the images of each sample, where their headers tell.
    """
    looks = [[(image, *image_files.look(image.source)) for image in sample] for sample in samples]
    if where == 'datasets:train':
        faults = [', '.join(f'{image.name}: {why}' for image, _, why in sample if why) for sample in looks]
        bad, bearable = [fault for fault in faults if fault], data_opt.get('max_bad_samples', 10)
        if bad and (len(bad) == len(faults) or (is_number(bearable) and len(bad) > bearable)):
            yield Problem(
                of,
                f'{len(bad)} of the {len(faults)} samples looked at cannot be used, where max_bad_samples ({bearable}) '
                f'may be passed over: {"; ".join(bad[:3])}{"; ..." if len(bad) > 3 else ""}. Replace or delete these '
                'files.',
            )
    else:
        for image in (image for sample in samples for image in sample):
            if damage := image_files.damage(image.source):
                yield Problem(where, f'{image.name} cannot be read: {damage}. {remedy}')
    return [[(image.name, size) for image, size, _ in sample if size] for sample in looks]


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


# ---------------------------------------------------------------------- pairs
def _pairs(
    opt: dict, where: str, data_opt: dict, gt_root: Root, lq_root: Root, any_ending: bool
) -> Generator[Problem, None, list[str]]:
    """Low-quality and ground-truth images of two roots: do they match in number, name and size?

    ``any_ending`` says that the endings of a pair's files may differ. Returns the names of the low-quality images; none
    where they do not match.
    """
    is_lmdb = gt_root.is_lmdb
    meta = None if is_lmdb else data_opt.get('meta_info_file')
    template = str(data_opt.get('filename_tmpl') or '{}')
    names = gt_root.names(meta)
    lq_names = lq_root.names() if any_ending or meta is None else []
    if any_ending:
        try:
            wanted = partners(names, lq_names, template, is_lmdb)
        except ValueError as error:
            yield Problem(f'{where}:dataroot_lq', f'in {lq_root.path}, {error}')
            return []
    else:
        wanted = {
            name: template.format(name) if is_lmdb else f'{template.format(Path(name).stem)}{Path(name).suffix}'
            for name in names
        }
    if meta is None and (text := _unmatched(wanted, set(lq_names), lq_root.path, gt_root.path)):
        yield Problem(where, text)
        return []
    chosen = spread(sorted(wanted))
    samples = list(zip(lq_root.images([wanted[name] for name in chosen]), gt_root.images(chosen), strict=True))
    absent = _absent(where, meta, [image for lq, gt in samples for image in (gt, lq)], _ABSENT)
    yield from absent
    if absent:
        return []
    sizes = yield from _readable(where, where, data_opt, samples, 'Replace the file, or delete it and its partner.')
    known = [sample for sample in sizes if len(sample) == 2]
    if is_number(opt.get('scale')) and opt['scale'] >= 1:
        yield from _sizes(where, known, int(opt['scale']))
    if where == 'datasets:train':
        yield from _fitting(data_opt.get('gt_size'), {gt: size for _, (gt, size) in known})
    return list(wanted.values())


def _unmatched(wanted: dict[str, str], present: set[str], lq_root: Path, gt_root: Path) -> str | None:
    lonely = [gt for gt, lq in wanted.items() if lq not in present]
    extra = sorted(present - set(wanted.values()))
    if not lonely and not extra:
        return None
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
    return f'the pairs do not match: {"; ".join(parts)}. {remedy}'


def _sizes(where: str, known: list[Named], scale: int) -> Iterator[Problem]:
    slack = 1 if where == 'datasets:train' else scale  # in training BasicSR refuses what it cuts in validation
    bad = [pair for pair in known if not is_scaled(pair[1][1], pair[0][1], scale, slack)]
    if not bad:
        return
    ratios = {large / small for (_, lq), (_, gt) in bad for small, large in zip(lq, gt, strict=True)}
    factor = ratios.pop() if len(ratios) == 1 and len(bad) == len(known) else None
    remedy = (
        f'Their ratio is {factor:.0f} throughout: set scale: {factor:.0f}, or correct dataroot_lq.'
        if factor and factor.is_integer()
        else 'Make the low-quality images anew, or correct dataroot_lq or scale.'
    )
    (lq_name, small), (gt_name, large) = bad[0]
    yield Problem(
        where,
        f'{gt_name} is {large[0]} x {large[1]}, which is not scale ({scale}) times {lq_name}, {small[0]} x {small[1]} '
        f'(width x height); so are {len(bad)} of the {len(known)} pairs looked at. {remedy}',
    )
