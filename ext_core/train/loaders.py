"""Data loaders of a run, from BasicSR's datasets."""

import contextlib
import itertools
import multiprocessing
import queue
import re
import signal
import time
from collections.abc import Generator
from multiprocessing.reduction import ForkingPickler
from threading import Event, Timer
from typing import Any

import scipy.stats  # noqa: F401  # ext_core.compat postponed it; from here forked workers have it
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.prefetch_dataloader import (
    CPUPrefetcher,
    CUDAPrefetcher,
    PrefetchDataLoader,
    PrefetchGenerator,
)
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from ext_core.errors import UserError
from ext_core.registration import restored
from ext_data.samples import NamedErrorDataset, SeededDataset, SeededSampler

PATIENCE = 5.0  # seconds that a batch which is being read gets when training ends


def _pickled(samples: SeededDataset) -> tuple:
    """How samples go to a worker that is not forked."""
    return restored, (bytes(ForkingPickler.dumps((type(samples), vars(samples)))),)


ForkingPickler.register(SeededDataset, _pickled)


class TrainingBatches:
    """The endless stream of training batches, with its position.

    Args:
        opt (dict): Options of the run.

    Raises:
        UserError: If the dataset does not fill one batch.
    """

    def __init__(self, opt: dict):
        self.opt = opt
        data_opt = opt['datasets']['train']
        if data_opt.get('prefetch_mode') == 'cpu' and not data_opt.get('num_worker_per_gpu'):
            # its thread would draw samples in this process, from the generators that training draws from
            data_opt = data_opt | {'prefetch_mode': None}
        dataset = _built('train', data_opt)
        if len(dataset) == 0:
            raise UserError(f'datasets:train: no images in {data_opt.get("dataroot_gt")}.')
        self.sampler = SeededSampler(
            len(dataset), opt['world_size'], opt['rank'], data_opt.get('dataset_enlarge_ratio', 1), opt['manual_seed']
        )
        self.samples = SeededDataset(dataset, opt['manual_seed'], data_opt.get('max_bad_samples', 10))
        self.loader: DataLoader = build_dataloader(
            self.samples, data_opt, num_gpu=opt['num_gpu'], dist=opt['dist'], sampler=self.sampler, seed=None
        )
        self.loader.worker_init_fn = _init_worker
        if self.loader.num_workers and multiprocessing.get_start_method() == 'forkserver':
            self.loader.multiprocessing_context = 'fork'  # Python 3.14's default imports all anew in each epoch
        # Its own generator: each pass over the loader draws a number, which must not come out of the training's.
        self.loader.generator = torch.Generator()
        self.epoch = 0
        self.batches_in_epoch = 0  # already handed out
        if self.per_epoch == 0:
            raise UserError(
                f'datasets:train: {len(dataset)} images do not fill one batch of {self.loader.batch_size} on each of '
                f'{opt["world_size"]} processes. Lower batch_size_per_gpu or raise dataset_enlarge_ratio.'
            )

    @property
    def per_epoch(self) -> int:
        """Batches in one epoch; an incomplete last one is dropped."""
        return len(self.sampler) // (self.loader.batch_size or 1)

    def set_position(self, epoch: int, batches_in_epoch: int) -> None:
        """Continue after this many batches of an epoch."""
        self.epoch = epoch
        self.batches_in_epoch = batches_in_epoch

    def __iter__(self) -> Generator[dict, None, None]:
        data_opt = self.opt['datasets']['train']
        # as in __init__: no thread where this process reads
        mode = 'cpu' if isinstance(self.loader, PrefetchDataLoader) else data_opt.get('prefetch_mode')
        reader = thread = None
        stop = Event()
        try:
            while True:
                if self.batches_in_epoch >= self.per_epoch:
                    self.set_position(self.epoch + 1, 0)
                self.sampler.set_position(self.epoch, self.batches_in_epoch * (self.loader.batch_size or 1))
                # What owns the workers is this iterator, the same one in each epoch where they are persistent; whatever
                # prefetches only reads from it.
                source = reader = _start(self.loader)
                if mode == 'cpu':
                    until_stop = itertools.takewhile(lambda batch: not stop.is_set(), reader)
                    source = thread = PrefetchGenerator(until_stop, data_opt.get('num_prefetch_queue', 1))
                prefetcher = CUDAPrefetcher(source, self.opt) if mode == 'cuda' else CPUPrefetcher(source)
                while (batch := _next(prefetcher)) is not None:
                    self.batches_in_epoch += 1
                    yield batch
        finally:
            stop.set()
            _end(thread, reader)


_FEWER = (
    'Lower datasets:train:num_worker_per_gpu (0 reads without workers), or give them more: shared memory is /dev/shm '
    '(docker run --shm-size=8g), open files are counted by ulimit -n.'
)


def _start(loader: DataLoader) -> Any:
    before = set(multiprocessing.active_children())
    try:
        return DataLoader.__iter__(loader)
    except OSError as error:
        # torch forgets those that it has started; deaf to SIGTERM, they would keep this process from exiting
        for worker in set(multiprocessing.active_children()) - before:
            worker.kill()
        raise UserError(f'the workers that read training images cannot be started: {error}. {_FEWER}') from error


def _next(prefetcher: Any) -> dict | None:
    try:
        return prefetcher.next()
    except RuntimeError as error:
        reason = re.search('DataLoader worker .*(killed|exited).*|unable to allocate shared memory.*', str(error))
        if reason is None:
            raise
        raise UserError(f'a worker that reads training images has failed: {reason[0]} {_FEWER}') from error


def _end(thread: Any, reader: Any) -> None:
    """End the thread that prefetches, then the workers.

    Now, while their queues live: left to the garbage collector these are closed first, the workers are not told to end
    and, deaf to SIGTERM (see _init_worker), would keep this process from exiting.
    """
    deadline = time.monotonic() + PATIENCE
    while thread is not None and thread.is_alive() and time.monotonic() < deadline:
        with contextlib.suppress(queue.Empty):
            thread.queue.get(timeout=0.02)  # it may be waiting for room
    if not hasattr(reader, '_shutdown_workers'):
        return  # read by this process

    def kill() -> None:
        if reader._worker_pids_set:  # else their end is an error here
            reader._worker_pids_set = False
            signal_handling._remove_worker_pids(id(reader))
        for worker in reader._workers:
            worker.kill()

    impatient = Timer(PATIENCE, kill)  # workers may hang themselves, on a network drive for instance
    impatient.start()
    try:
        reader._shutdown_workers()
    finally:
        impatient.cancel()


def _init_worker(worker_id: int) -> None:
    """Signals are the main process's business, also where the terminal or Slurm sends them to the whole process group:
    it saves, then ends the workers by their event queue. A worker also ends when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(signal, 'SIGHUP'):  # not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def evaluation_loaders(opt: dict) -> list[DataLoader]:
    """A loader for each of ``datasets:val*`` (training) or ``datasets:test*`` (testing), in the file's order."""
    sections = {key: section for key, section in opt['datasets'].items() if key.split('_')[0] in ('val', 'test')}
    loaders = []
    for phase, section in sections.items():
        dataset = _built(phase, section)
        if len(dataset) == 0:
            raise UserError(f"datasets: '{section.get('name')}' holds no images.")
        loaders.append(
            build_dataloader(
                NamedErrorDataset(dataset), section, num_gpu=opt['num_gpu'], dist=opt['dist'], sampler=None
            )
        )
    return loaders


def _built(phase: str, section: dict) -> Any:
    """A dataset; its refusals name the section."""
    try:
        return build_dataset(section)
    except (ValueError, OSError) as error:
        raise UserError(f'datasets:{phase}: {error}') from error
