"""Write the low-resolution images that a degradation network makes of a set of HR images: in parallel over processes,
resumably, as an LMDB or a folder, with a record of where they come from."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError
from ext_core.networks.files import GeneratorFile
from ext_core.use.degrading import low_resolution_in_tiles, reach_of
from ext_core.use.hr_sources import Picture, pictures_of, read_picture
from ext_data.decoding import ImageError
from ext_data.preparation.images import mod_crop, write_png
from ext_data.preparation.ledger import Ledger, Record
from ext_data.preparation.lmdb_writer import Entry, write_lmdb
from ext_data.preparation.pairs import listing

T = TypeVar('T')


@dataclass(frozen=True)
class Outputs:
    """What to write; ``NAME.json`` with the provenance goes beside each of ``lmdb`` and ``folder``.

    Args:
        lmdb (Path | None): LR images as an LMDB for BasicSR, with the keys of the HR LMDB.
        folder (Path | None): LR images as PNG files. At least one of the two.
        hr_lmdb (Path | None): HR images too, cut to a multiple of the scale, under the same keys.
    """

    lmdb: Path | None = None
    folder: Path | None = None
    hr_lmdb: Path | None = None

    def __post_init__(self) -> None:
        if self.lmdb is None and self.folder is None:
            raise UserError('Give --output NAME.lmdb, or --output-folder DIR, or both.')
        for option, path in (('--output', self.lmdb), ('--output-hr', self.hr_lmdb)):
            if path is not None and path.suffix != '.lmdb':
                raise UserError(f'{option} {path}: BasicSR reads LMDB folders whose name ends in .lmdb only.')
        if self.hr_lmdb is not None and (self.lmdb is None or self.lmdb.resolve() == self.hr_lmdb.resolve()):
            raise UserError('--output-hr is the HR partner of --output: give both, with different names.')

    @property
    def places(self) -> list[Path]:
        """Everything that is written."""
        return [path for path in (self.lmdb, self.folder, self.hr_lmdb) if path is not None]

    @property
    def work(self) -> Path:
        """Hidden folder of what an interrupted run continues from; removed at the end."""
        anchor = self.lmdb or self.folder
        assert anchor is not None
        return anchor.parent / f'.{anchor.name}.work'


@dataclass(frozen=True)
class _Task:
    """One run as the first rank planned it."""

    pictures: list[Picture]
    todo: list[Picture]
    lr: Path
    hr: Path | None
    ledger: Path  # without suffix: one for each set of settings
    settings: dict[str, Any]


def provenance_file(place: Path) -> Path:
    """Where the record of an LMDB or folder stands."""
    return place.with_name(f'{place.name}.json')


def identity_of(degrader: GeneratorFile) -> dict[str, Any]:
    """What its images depend on: the weights' hash, the network's options, the scale."""
    digest = hashlib.sha256(degrader.path.read_bytes()).hexdigest()
    return {'weights_sha256': digest, 'network': degrader.network, 'scale': degrader.scale}


def synthesize(degrader: GeneratorFile, hr: Path, outputs: Outputs, tile: int = 128, say: Callable = print) -> int:
    """Make and write the LR images.

    Under ``torch.distributed`` every rank takes its share, and must call it. Finished images of an interrupted run are
    kept; outputs that are complete, from the same weights and the same HR images, stay as they are.

    Args:
        degrader (GeneratorFile): From ``ext_models.degrading.load_degrader``.
        hr (Path): Folder of HR images, or an LMDB.
        outputs (Outputs): What to write.
        tile (int): Side of a tile in LR pixels, 0 for whole images: bounds the memory, changes nothing. Default: 128.
        say (Callable): Gets a line for people, on the first rank.

    Returns:
        int: Images made in this call, by all ranks.

    Raises:
        UserError: If an HR image cannot be read, sizes are no multiple of the scale and no HR images are written, or an
            output is somebody else's. All ranks raise it.
    """
    rank, world = _rank()
    say = say if rank == 0 else lambda line: None
    places = ', '.join(map(str, outputs.places))
    task = _on_first_rank(lambda: _plan(degrader, hr, outputs))
    if task is None:
        say(f'{places}: complete, nothing to do.')
        return 0
    share, problems = task.todo[rank::world], []
    if share:
        reach = reach_of(degrader.net, degrader.scale) if tile else 0
        ledger = Ledger(task.ledger.with_suffix(f'.rank{rank}.jsonl'), task.settings)
        for picture in tqdm(share, unit='image', disable=rank != 0):
            try:
                ledger.append(_make(picture, task, degrader, tile, reach))
            except ImageError as error:
                problems.append(str(error))
    found: list[Any] = [(len(share) - len(problems), problems)] * world
    if world > 1:
        torch.distributed.all_gather_object(found, found[0])
    made, problems = sum(number for number, _ in found), [problem for _, listed in found for problem in listed]
    if problems:
        raise UserError(
            f'{len(problems)} of {len(task.pictures)} images cannot be used; nothing was packed:\n{listing(problems)}\n'
            'Replace or remove these files and run the same command again; finished images are kept.'
        )
    _on_first_rank(lambda: _finish(task, degrader, hr, outputs))
    say(f'{len(task.pictures)} LR images, {made} of them made now: {places}')
    return made


# ---------------------------------------------------------------------- ranks
def _rank() -> tuple[int, int]:
    if torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _on_first_rank(job: Callable[[], T]) -> T:
    """Its result, or its error, on all ranks."""
    rank, world = _rank()
    outcome: list[Any] = [None]
    if rank == 0:
        try:
            outcome = [job()]
        except (UserError, ValueError, OSError) as error:
            outcome = [UserError(str(error))]
    if world > 1:
        torch.distributed.broadcast_object_list(outcome)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    return outcome[0]


# ---------------------------------------------------------------------- before
def _plan(degrader: GeneratorFile, hr: Path, outputs: Outputs) -> _Task | None:
    """What is to be done, or None if everything is there. Nothing is overwritten that this module did not write."""
    pictures, scale = pictures_of(hr), degrader.scale
    uneven = [f'{p.name} is {p.size[0]} x {p.size[1]}' for p in pictures if p.size and any(n % scale for n in p.size)]
    if uneven and outputs.hr_lmdb is None:
        raise UserError(
            f'{len(uneven)} of {len(pictures)} HR images are no multiple of the scale ({scale}), so that LR images '
            f'would not fit them:\n{listing(uneven)}\nAdd --output-hr NAME.lmdb, which writes the HR images cut to '
            'size under the same keys; or cut them first: python scripts/prepare_data.py --hr DIR --output DIR '
            f'--scale {scale}'
        )
    settings = identity_of(degrader)
    if _is_complete(outputs, {**settings, **_content(pictures)}, pictures):
        return None
    keys = {picture.key for picture in pictures}
    for place in outputs.places:
        if place.resolve() == hr.resolve():
            raise UserError(f'{place} holds the HR images and would be overwritten. Choose another output.')
        ours = provenance_file(place).is_file() or (place == outputs.folder and outputs.work.is_dir())
        if place.is_dir() and any(place.iterdir()) and not ours:
            raise UserError(f'{place} exists and was not written by this command. Choose another output, or remove it.')
    if outputs.folder is not None and outputs.folder.is_dir():
        others = [name for name in os.listdir(outputs.folder) if name[0] != '.' and Path(name).stem not in keys]
        if others:
            raise UserError(
                f'{outputs.folder} holds other files, such as {sorted(others)[0]}, and datasets read all of a folder. '
                'Choose another --output-folder, or empty it.'
            )
    lr = outputs.folder or outputs.work / 'lr'
    hr_folder = outputs.work / 'hr' if outputs.hr_lmdb else None
    folders = [folder for folder in (lr, hr_folder) if folder is not None]
    for folder in (outputs.work, *folders):
        folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    for path in outputs.work.glob('*.jsonl'):  # of other weights
        if not path.name.startswith(f'{name}.'):
            path.unlink()
    stamps = {key: record.fingerprint for key, record in _merged_ledger(outputs.work / name, settings).records.items()}
    there = set.intersection(*(set(os.listdir(folder)) for folder in folders))
    todo = [p for p in pictures if stamps.get(p.key) != p.fingerprint or f'{p.key}.png' not in there]
    return _Task(pictures, todo, lr, hr_folder, outputs.work / name, settings)


def _content(pictures: list[Picture]) -> dict[str, Any]:
    """For the record: how many HR images, and a hash of their names, sizes in bytes and times of change."""
    text = json.dumps([[picture.key, picture.fingerprint] for picture in pictures])
    return {'images': len(pictures), 'hr_sha256': hashlib.sha256(text.encode()).hexdigest()}


def _is_complete(outputs: Outputs, settings: dict, pictures: list[Picture]) -> bool:
    for place in outputs.places:
        try:
            record = json.loads(provenance_file(place).read_text(encoding='utf-8'))
        except (OSError, json.JSONDecodeError):
            return False
        if not record.get('complete') or {key: record.get(key) for key in settings} != settings:
            return False
        wanted = ['data.mdb', 'meta_info.txt']
        if place == outputs.folder:
            wanted = [f'{picture.key}.png' for picture in pictures]
        if not set(wanted) <= set(os.listdir(place) if place.is_dir() else ()):
            return False
    return True


# ---------------------------------------------------------------------- the images
def _merged_ledger(base: Path, settings: dict) -> Ledger:
    """What all ranks, of this run and of earlier ones, have finished."""
    merged = Ledger(base.with_suffix('.all.jsonl'), settings)
    parts = sorted(base.parent.glob(f'{base.name}.rank*.jsonl'))
    for part in parts:
        merged.records.update(Ledger(part, settings).records)
    merged.rewrite()
    for part in parts:
        part.unlink()
    return merged


def _make(picture: Picture, task: _Task, degrader: GeneratorFile, tile: int, reach: int) -> Record:
    """One LR image, and the HR image where it is wanted."""
    from basicsr.utils import img2tensor, tensor2img

    scale = degrader.scale
    whole = read_picture(picture)
    gt = mod_crop(whole, scale)
    if task.hr is None and gt.shape != whole.shape:  # its header did not tell
        raise ImageError(f'{picture.name}: {whole.shape[1]} x {whole.shape[0]} is no multiple of the scale ({scale})')
    if min(gt.shape[:2]) < 2 * scale:
        raise ImageError(f'{picture.name}: smaller than {2 * scale} pixels, too small to be reduced {scale} times')
    device = next(degrader.net.parameters()).device
    tensor = img2tensor(gt.astype(np.float32) / 255.0)[None].to(device)
    lr = low_resolution_in_tiles(degrader.net, tensor, scale, tile, reach)
    write_png(task.lr / f'{picture.key}.png', tensor2img(lr))
    if task.hr is not None:
        write_png(task.hr / f'{picture.key}.png', gt)
    return Record(picture.key, picture.fingerprint, [(picture.key, *gt.shape[:2])], [])


# ---------------------------------------------------------------------- after
def _finish(task: _Task, degrader: GeneratorFile, hr: Path, outputs: Outputs) -> None:
    """Pack, record, tidy up."""
    records = _merged_ledger(task.ledger, task.settings).records
    pieces = [records[picture.key].pieces[0] for picture in task.pictures]
    packed = ((outputs.lmdb, task.lr, degrader.scale), (outputs.hr_lmdb, task.hr, 1))
    versions: dict[str, str | None] = dict.fromkeys(('torch', 'basicsr', 'numpy', 'opencv-python', 'lmdb'))
    for name in versions:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    record = {
        **task.settings,
        **_content(task.pictures),
        'hr': str(hr),
        'weights': str(degrader.path),
        'options': degrader.options,
        'pixels': 'clamped to [0, 1], rounded to 8 bit',
        'versions': versions,
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
    }
    for place in outputs.places:  # an LMDB without a record would be taken for somebody else's: the record goes first
        atomic_write_text(json.dumps(record | {'complete': False}, indent=2) + '\n', provenance_file(place))
    for target, folder, factor in packed:
        if target is not None and folder is not None:
            entries = [Entry(folder / f'{key}.png', rows // factor, columns // factor) for key, rows, columns in pieces]
            with tqdm(total=len(entries), unit='image', desc=target.name) as bar:
                write_lmdb(target, entries, bar.update)
    for place in outputs.places:
        atomic_write_text(json.dumps(record | {'complete': True}, indent=2) + '\n', provenance_file(place))
    shutil.rmtree(outputs.work)
