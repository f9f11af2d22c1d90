"""Make the output images of many pairs: in parallel, resumably, and checking each pair on the way."""

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from ext_data.decoding import ImageError
from ext_data.preparation.ledger import Ledger, Record
from ext_data.preparation.lmdb_writer import Entry, is_current, write_lmdb
from ext_data.preparation.pair_images import Plan, fingerprint, make_pair
from ext_data.preparation.pairs import Pair, listing

CHUNK = 4  # pairs handed to a worker process at once


@dataclass(frozen=True)
class Prepared:
    """Finished pairs, in the order of their names.

    Args:
        records (list[Record]): One per pair.
        skipped (int): How many of them were there already.
    """

    records: list[Record]
    skipped: int

    def notes(self) -> Counter[str]:
        """How many pairs had to be changed, by kind of change."""
        return Counter(note for record in self.records for note in record.notes)


def prepare(
    pairs: Sequence[Pair], plan: Plan, jobs: int = 1, initializer: Callable[[], None] | None = None
) -> Prepared:
    """Write the HR and LR images of all pairs as PNG files; finished ones are skipped.

    Args:
        pairs (Sequence[Pair]): Source files.
        plan (Plan): What to make of them.
        jobs (int): Worker processes; 1 works in this process. Default: 1.
        initializer (Callable[[], None] | None): Called first in each worker process. Default: None.

    Returns:
        Prepared: What there is now.

    Raises:
        ValueError: If an image does not decode, or a pair does not match in size: all of them are named, after the
            others have been written.
    """
    sources = {path.parent.resolve() for pair in pairs for path in (pair.hr, pair.lr) if path is not None}
    for folder in (plan.hr_folder, plan.lr_folder):
        if folder.resolve() in sources:
            raise ValueError(f'{folder} holds the source images and would be overwritten. Choose another --output.')
    record = plan.hr_folder.parent / '.prepared' / f'{plan.hr_folder.name}.jsonl'
    packed = [folder.with_name(f'{folder.name}.lmdb') for folder in (plan.hr_folder, plan.lr_folder)]
    for place in (plan.hr_folder, plan.lr_folder, *packed):
        if not record.is_file() and place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ValueError(f'{place} was not written by this command. Choose another --output, or remove it.')
    made = f'Gaussian blur of {plan.blur} HR pixels, then bicubic' if plan.blur else 'bicubic'
    origin = made if all(pair.lr is None for pair in pairs) else 'given'
    ledger = Ledger(
        record,
        {
            'scale': plan.scale,
            'window': asdict(plan.window) if plan.window else None,
            'lr': origin,
            'lr_at_hr_size': plan.lr_at_hr_size,
            'folders': [plan.hr_folder.name, plan.lr_folder.name],
        },
    )
    plan.hr_folder.mkdir(parents=True, exist_ok=True)
    plan.lr_folder.mkdir(parents=True, exist_ok=True)
    todo = _unfinished(pairs, plan, ledger)
    skipped = len(pairs) - len(todo)
    problems = []
    with tqdm(total=len(pairs), initial=skipped, unit='image', desc=plan.hr_folder.name) as bar:
        for outcome in _run(todo, plan, jobs, initializer):
            if isinstance(outcome, str):
                problems.append(outcome)
            else:
                ledger.append(outcome)
            bar.update()
    if problems:
        raise ValueError(
            f'{len(problems)} of {len(pairs)} pairs cannot be used; no LMDB was written:\n{listing(problems)}\n'
            'Remedy: replace or remove these files and run the same command again; finished images are kept.'
        )
    return Prepared([ledger.records[pair.key] for pair in pairs], skipped)


def pack(prepared: Prepared, plan: Plan) -> tuple[Path, Path]:
    """Pack what ``prepare`` wrote into two LMDBs beside the folders; those that are up to date stay.

    Args:
        prepared (Prepared): Result of ``prepare``.
        plan (Plan): The same plan.

    Returns:
        tuple[Path, Path]: HR and LR LMDB.
    """
    targets = []
    for folder, factor in ((plan.hr_folder, 1), (plan.lr_folder, plan.scale)):
        entries = [
            Entry(folder / f'{name}.png', height // factor, width // factor)
            for record in prepared.records
            for name, height, width in record.pieces
        ]
        target = folder.with_name(f'{folder.name}.lmdb')
        if not is_current(target, entries):
            with tqdm(total=len(entries), unit='image', desc=target.name) as bar:
                write_lmdb(target, entries, bar.update)
        targets.append(target)
    return targets[0], targets[1]


def _unfinished(pairs: Sequence[Pair], plan: Plan, ledger: Ledger) -> list[Pair]:
    """Pairs still to be made; outputs of sources that changed or went away are removed."""
    wanted = {pair.key: fingerprint(pair) for pair in pairs}
    stale = [record for record in ledger.records.values() if wanted.get(record.key) != record.fingerprint]
    for record in stale:
        del ledger.records[record.key]
        for name, _, _ in record.pieces:
            (plan.hr_folder / f'{name}.png').unlink(missing_ok=True)
            (plan.lr_folder / f'{name}.png').unlink(missing_ok=True)
    if stale:
        ledger.rewrite()
    # one listing per folder: looking up each of a million files would take minutes on a network disk
    there = set(os.listdir(plan.hr_folder)) & set(os.listdir(plan.lr_folder))
    records = ledger.records.values()
    done = {record.key for record in records if all(f'{name}.png' in there for name, _, _ in record.pieces)}
    return [pair for pair in pairs if pair.key not in done]


def _run(
    pairs: Sequence[Pair], plan: Plan, jobs: int, initializer: Callable[[], None] | None
) -> Iterator[Record | str]:
    """Outcomes in order: a record, or the text of what is wrong."""
    if jobs == 1 or len(pairs) < 2:
        yield from map(partial(_attempt, plan=plan), pairs)
        return
    # spawned: a forked process hangs where this one has used threads of OpenCV's or PyTorch's before
    spawned = multiprocessing.get_context('spawn')
    executor = ProcessPoolExecutor(min(jobs, len(pairs)), mp_context=spawned, initializer=initializer)
    try:
        yield from executor.map(partial(_work, plan=plan), pairs, chunksize=CHUNK)
    except BrokenProcessPool as error:
        raise ValueError(
            'A worker process was killed, probably for lack of memory. '
            f'Run the same command again with fewer --jobs than {jobs}; finished images are kept.'
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _attempt(pair: Pair, plan: Plan) -> Record | str:
    try:
        return make_pair(pair, plan)
    except ImageError as error:
        return str(error)


def _work(pair: Pair, plan: Plan) -> Record | str:
    _enter_worker()
    return _attempt(pair, plan)


@cache
def _enter_worker() -> None:
    """Once per worker process: one thread each, Ctrl-C left to the parent, and an end when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this, workers of a killed parent would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
