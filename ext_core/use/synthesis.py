"""Write the low-resolution images that a degradation network makes of a set of HR images: in tiles, shared among
processes, resumably, as an LMDB or a folder, with a record of where they come from."""

import contextlib
import copy
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch
from basicsr.data.transforms import mod_crop
from torch import nn
from tqdm import tqdm

from ext_core.atomic import atomic_write_text, sum_of
from ext_core.errors import UserError
from ext_core.networks.files import GeneratorFile
from ext_core.options.image_files import file_size
from ext_core.use.evaluation import tensor_of
from ext_core.use.hr_sources import Picture, pictures_of, read_picture
from ext_core.use.jobs import fingerprint, read_record
from ext_data.decoding import ImageError
from ext_data.preparation.images import write_png
from ext_data.preparation.lmdb_writer import Entry, write_lmdb
from ext_data.preparation.pairs import listing, require_ascii
from ext_models import tiles
from ext_models.degrading import degraded, low_resolution

MAX_REACH = 64  # LR pixels; of networks that see further, images are taken whole
T = TypeVar('T')


def reach_of(net: nn.Module, scale: int) -> int:
    """How far the influence of an HR pixel reaches in a degradation network of three channels, in LR pixels, see
    :func:`ext_models.tiles.reach_of`.

    Raises:
        UserError: If it reaches further than ``MAX_REACH``, as that of global normalisation does.
    """
    probe = copy.deepcopy(net).cpu()  # convolutions of a GPU may spread a NaN further than they spread numbers
    reach = tiles.reach_of(lambda image: degraded(probe, image, scale), MAX_REACH, (scale, 1))
    if reach is None:
        raise UserError(
            f'{type(net).__name__} sees further than {MAX_REACH} LR pixels, so that tiles would show seams. '
            'Use --tile 0, which takes images whole.'
        )
    return reach


@dataclass(frozen=True)
class Outputs:
    """What to write, at least ``lmdb`` or ``folder``; ``NAME.json`` with the provenance goes beside each."""

    lmdb: Path | None = None  # LR images for BasicSR, with the keys of the HR LMDB
    folder: Path | None = None  # LR images as PNG files
    hr_lmdb: Path | None = None  # HR images too, cut to a multiple of the scale, under the same keys

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
        """Everything that is written; the record of where it comes from stands beside each, ``NAME.json``."""
        return [path for path in (self.lmdb, self.folder, self.hr_lmdb) if path is not None]


def synthesize(degrader: GeneratorFile, hr: Path, outputs: Outputs, tile: int = 128) -> int:
    """Make and write the LR images of a folder or LMDB of HR images; returns how many, by all ranks, in this call.

    Under ``torch.distributed`` every rank takes its share, and must call it. Finished images of an interrupted run are
    kept, in a hidden folder beside the outputs, and each has its HR image's time of change; outputs that are complete,
    from the same weights and the same HR images, stay as they are. ``tile``, the side of a tile in LR pixels, 0 for
    whole images, bounds the memory and changes nothing.

    Raises:
        UserError: If an HR image cannot be read, sizes are no multiple of the scale and no HR images are written, or an
            output is somebody else's. All ranks raise it.
    """
    from basicsr.utils import tensor2img

    distributed = torch.distributed.is_initialized()
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
    places, scale = ', '.join(map(str, outputs.places)), degrader.scale
    anchor = outputs.places[0]
    work = anchor.parent / f'.{anchor.name}.work'
    folders = [work / 'lr', work / 'hr'] if outputs.hr_lmdb else [work / 'lr']
    pictures, todo, record = _on_first_rank(lambda: _plan(degrader, hr, outputs, folders))
    if not pictures:
        if rank == 0:
            print(f'{places}: complete, nothing to do.')
        return 0
    share, problems = todo[rank::world], []
    device = next(degrader.net.parameters()).device
    reach = reach_of(degrader.net, scale) if tile and share else 0
    for picture in tqdm(share, unit='image', disable=rank != 0):
        try:
            whole = read_picture(picture)
            gt = mod_crop(whole, scale)
            if not outputs.hr_lmdb and gt.shape != whole.shape:  # its header did not tell
                size = f'{whole.shape[1]} x {whole.shape[0]}'
                raise ImageError(f'{picture.name}: {size} is no multiple of the scale ({scale})')
            if min(gt.shape[:2]) < 2 * scale:
                raise ImageError(
                    f'{picture.name}: smaller than {2 * scale} pixels, too small to be reduced {scale} times'
                )
            large = tensor_of(gt).to(device)
            low = tiles.in_tiles(
                lambda piece: low_resolution(degrader.net, piece, scale), large, tile, reach, (scale, 1)
            )
            made = [tensor2img(low), gt]
        except ImageError as error:
            problems.append(str(error))
            continue
        for folder, image in zip(folders, made, strict=False):
            file = folder / f'{picture.key}.png'
            write_png(file, image)
            os.utime(file, ns=(picture.changed, picture.changed))
    found: list[Any] = [(len(share) - len(problems), problems)] * world
    if world > 1:
        torch.distributed.all_gather_object(found, found[0])
    made_now, problems = sum(number for number, _ in found), [problem for _, listed in found for problem in listed]
    if problems:
        raise UserError(
            f'{len(problems)} of {len(pictures)} images cannot be used; nothing was packed:\n{listing(problems)}\n'
            'Replace or remove these files and run the same command again; finished images are kept.'
        )
    _on_first_rank(lambda: _finish(outputs, work, pictures, record))
    if rank == 0:
        print(f'{len(pictures)} LR images, {made_now} of them made now: {places}')
        renamed = [picture for picture in pictures if picture.place.is_file() and picture.key != picture.place.stem]
        if renamed and outputs.folder and not outputs.hr_lmdb:
            one = renamed[0]
            print(
                f'note: {len(renamed)} LR images are named otherwise than their HR images, such as {one.key}.png of '
                f'{one.place.name}, since keys of LMDBs have neither dots nor spaces. Rename the HR images, too.'
            )
    return made_now


def _on_first_rank(job: Callable[[], T]) -> T:
    """Its result, or its error, on all ranks."""
    distributed = torch.distributed.is_initialized()
    outcome: list[Any] = [None]
    if not distributed or torch.distributed.get_rank() == 0:
        try:
            outcome = [job()]
        except (UserError, ValueError, OSError) as error:
            outcome = [UserError(str(error))]
    if distributed:
        torch.distributed.broadcast_object_list(outcome)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    return outcome[0]


def _plan(
    degrader: GeneratorFile, hr: Path, outputs: Outputs, folders: Sequence[Path]
) -> tuple[list[Picture], list[Picture], dict[str, Any]]:
    """All HR images, none if everything is there; those that are to be degraded into the folders; and the record of
    where the outputs come from. Nothing is overwritten that this module did not write."""
    pictures, scale = pictures_of(hr), degrader.scale
    uneven = [f'{p.name} is {p.size[0]} x {p.size[1]}' for p in pictures if p.size and any(n % scale for n in p.size)]
    if uneven and outputs.hr_lmdb is None:
        raise UserError(
            f'{len(uneven)} of {len(pictures)} HR images are no multiple of the scale ({scale}), so that LR images '
            f'would not fit them:\n{listing(uneven)}\nAdd --output-hr NAME.lmdb, which writes the HR images cut to '
            'size under the same keys; or cut them first: python scripts/prepare_data.py --hr DIR --output DIR '
            f'--scale {scale}'
        )
    if outputs.lmdb:
        remedy = 'write to --output-folder alone, which takes any name.'
        require_ascii(((picture.key, picture.name) for picture in pictures), remedy)
    network = {'weights_sha256': sum_of(degrader.path).sha256, 'network': degrader.network, 'scale': scale}
    names = json.dumps([[picture.key, picture.changed] for picture in pictures])
    settings = {**network, 'images': len(pictures), 'hr_sha256': hashlib.sha256(names.encode()).hexdigest()}
    complete = True
    files = {f'{picture.key}.png' for picture in pictures}
    for place in outputs.places:
        record = place.with_name(f'{place.name}.json')
        there = set(os.listdir(place)) if place.is_dir() else set()
        if place.resolve() == hr.resolve():
            raise UserError(f'{place} holds the HR images and would be overwritten. Choose another output.')
        if there and not record.is_file():
            raise UserError(f'{place} exists and was not written by this command. Choose another output, or remove it.')
        others = [name for name in there if name[0] != '.' and name not in files] if place == outputs.folder else []
        if others:
            raise UserError(
                f'{place} holds other files, such as {sorted(others)[0]}, and datasets read all of a folder. Choose '
                'another --output-folder, or empty it.'
            )
        written = read_record(record)
        wanted = files if place == outputs.folder else {'data.mdb', 'meta_info.txt'}
        complete &= wanted <= there and {**written, **settings, 'complete': True} == written
    if complete:
        return [], [], {}
    of_work = folders[0].parent / f'{fingerprint(network)[:16]}.id'
    if not of_work.is_file():  # of other weights
        shutil.rmtree(of_work.parent, ignore_errors=True)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    of_work.touch()

    def done(picture: Picture) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return all((folder / f'{picture.key}.png').stat().st_mtime_ns == picture.changed for folder in folders)
        return False

    versions: dict[str, str | None] = dict.fromkeys(('torch', 'basicsr', 'numpy', 'opencv-python', 'lmdb'))
    for name in versions:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    settings |= {
        'hr': str(hr),
        'weights': str(degrader.path),
        'options': degrader.options,
        'pixels': 'clamped to [0, 1], rounded to 8 bit',
        'versions': versions,
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
    }
    return pictures, [picture for picture in pictures if not done(picture)], settings


def _finish(outputs: Outputs, work: Path, pictures: Sequence[Picture], record: dict[str, Any]) -> None:
    """Pack, record, tidy up."""

    def write_records(complete: bool) -> None:
        for place in outputs.places:
            text = json.dumps(record | {'complete': complete}, indent=2) + '\n'
            atomic_write_text(text, place.with_name(f'{place.name}.json'))

    write_records(False)  # what has no record would be taken for somebody else's: the record goes first
    for target, folder in ((outputs.lmdb, work / 'lr'), (outputs.hr_lmdb, work / 'hr')):
        if target is not None:
            entries = []
            for file in (folder / f'{picture.key}.png' for picture in pictures):
                width, height = file_size(file) or (0, 0)
                entries.append(Entry(file, height, width))
            with tqdm(total=len(entries), unit='image', desc=target.name) as bar:
                write_lmdb(target, entries, bar.update)
    if outputs.folder is not None:
        outputs.folder.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            shutil.move(work / 'lr' / f'{picture.key}.png', outputs.folder / f'{picture.key}.png')
    write_records(True)
    shutil.rmtree(work)
