"""Training ends within seconds, whatever reads its images and whichever way it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
import torch
from tiny_runs import tiny_recipe
from torch.utils.data import Dataset

from ext_core import launch
from ext_core.errors import UserError
from ext_core.options import yaml_safe
from ext_core.train import loaders
from ext_core.train.loaders import TrainingBatches, evaluation_loaders
from ext_data.preparation.demo import ensure_demo_data


class Numbers(Dataset):
    """Twelve samples: six batches an epoch."""

    def __init__(self, opt: dict):
        self.opt = opt

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict:
        if self.opt.get('hangs') and self.opt['hangs'].is_set():
            time.sleep(1000)
        return {'lq': torch.tensor(float(index)), 'gt': torch.zeros(200, 200), 'lq_path': str(index)}


@pytest.fixture
def options(monkeypatch):
    """``options(**keys of datasets:train)`` of a run on :class:`Numbers`."""
    monkeypatch.setattr(loaders, 'build_dataset', Numbers)
    common = {'manual_seed': 0, 'world_size': 1, 'rank': 0, 'num_gpu': 0, 'dist': False}
    train = {'name': 'numbers', 'phase': 'train', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 2}
    return lambda **keys: {**common, 'datasets': {'train': {**train, **keys}}}


GRID = [
    {'prefetch_mode': mode, 'persistent_workers': persistent, 'num_prefetch_queue': queue}
    for mode, queue in ((None, 1), ('cpu', 1), ('cpu', 16))
    for persistent in (False, True)
]
ENDS = {'before the first batch': 0, 'in an epoch': 3, 'at its end': 6, 'in the second': 8}


def left_over() -> list:
    """Workers and prefetching threads that are alive."""
    threads = [thread for thread in threading.enumerate() if type(thread).__name__ == 'PrefetchGenerator']
    return multiprocessing.active_children() + threads


@pytest.mark.parametrize(('end', 'error'), [*((end, False) for end in ENDS), ('in an epoch', True)])
@pytest.mark.parametrize('keys', GRID, ids=lambda keys: '-'.join(map(str, keys.values())))
def test_no_worker_and_no_thread_outlives_training(options, keys, end, error):
    try:
        with closing(iter(TrainingBatches(options(**keys)))) as batches:
            ending = time.monotonic()
            for number, _ in enumerate(batches if ENDS[end] else (), 1):
                ending = time.monotonic()
                if error and number == ENDS[end]:
                    raise ZeroDivisionError
                if number == ENDS[end]:
                    break
    except ZeroDivisionError:
        pass
    assert left_over() == []
    assert time.monotonic() - ending < 5


@pytest.mark.parametrize('keys', GRID[1:4], ids=lambda keys: '-'.join(map(str, keys.values())))
def test_workers_that_hang_are_ended(options, monkeypatch, keys):
    monkeypatch.setattr(loaders, 'PATIENCE', 0.5)
    hangs = multiprocessing.Event()
    with closing(iter(TrainingBatches(options(hangs=hangs, **keys)))) as batches:
        next(batches)
        ending = time.monotonic()
        hangs.set()
        time.sleep(0.2)
    for child in multiprocessing.active_children():
        child.join(1)
    assert multiprocessing.active_children() == []  # a thread may wait some seconds more, but keeps nobody from exiting
    assert time.monotonic() - ending < 5


def test_workers_that_cannot_be_started(options, monkeypatch):
    """``ulimit -n``, a full /dev/shm, too many processes: when some are running already."""
    fork, init, deaf = os.fork, loaders._init_worker, multiprocessing.Event()
    monkeypatch.setattr(loaders, '_init_worker', lambda number: (init(number), deaf.set()))
    training = TrainingBatches(options(num_worker_per_gpu=3))
    training.loader.multiprocessing_context = 'fork'
    batches = iter(training)

    def second_fails() -> int:
        if multiprocessing.active_children():
            assert deaf.wait(30)
            raise OSError(24, 'Too many open files')
        return fork()

    monkeypatch.setattr(os, 'fork', second_fails)
    with pytest.raises(UserError, match=r'Too many open files.*num_worker_per_gpu'):
        next(batches)
    monkeypatch.undo()
    deadline = time.monotonic() + 5
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not multiprocessing.active_children()


def test_full_shared_memory_is_told(options, monkeypatch):
    """What torch says of it, and of a worker that the kernel has killed, comes as a RuntimeError."""
    for text in (
        'Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to allocate shared memory(shm) for '
        'file </torch_1>: No space left on device (28)\n',
        "DataLoader worker (pid 9) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
        'shared memory.',
    ):
        batches = iter(TrainingBatches(options(num_worker_per_gpu=0)))
        monkeypatch.setattr(loaders.CPUPrefetcher, 'next', mock.Mock(side_effect=RuntimeError(text)))
        with pytest.raises(UserError, match=r'shared memory.*/dev/shm'):
            next(batches)


def test_every_batch_comes_once_in_the_same_order(options):
    def first_8(**keys) -> list:  # the second epoch's among them
        with closing(iter(TrainingBatches(options(**keys)))) as batches:
            return [next(batches)['lq'].tolist() for _ in range(8)]

    expected = first_8(num_worker_per_gpu=0)
    assert sorted(number for batch in expected[:6] for number in batch) == list(range(12))
    for keys in GRID:
        assert first_8(**keys) == expected


@pytest.mark.parametrize('mode', [None, 'cpu'])
def test_evaluation_loaders_leave_no_process(options, mode):
    opt = options()
    val = {'name': 'v', 'phase': 'val', 'prefetch_mode': mode, 'num_worker_per_gpu': 1, 'persistent_workers': False}
    opt['datasets'] = {'val': val}
    (loader,) = evaluation_loaders(opt)
    assert len(list(loader)) == 12
    next(iter(loader))  # as an error in the midst leaves it
    assert multiprocessing.active_children() == []


@pytest.fixture
def recipe(tmp_path: Path, in_project) -> list[str]:
    """Arguments of a run with what hung for ever: workers that persist, read by a thread."""
    options = tiny_recipe('exits', 3)
    options['datasets']['train'].update(
        num_worker_per_gpu=1, prefetch_mode='cpu', persistent_workers=True, num_prefetch_queue=1
    )
    options['logger']['print_freq'] = 1
    (tmp_path / 'exits.yml').write_text(yaml_safe.dump(options))
    return ['-opt', str(tmp_path / 'exits.yml'), '--demo']


@pytest.mark.parametrize('flags', [[], ['--debug'], ['--dry-run']])
def test_nothing_outlives_a_run(tmp_path: Path, recipe, fresh_logger, flags: list[str]) -> None:
    assert launch.train(tmp_path, [*recipe, *flags]) == 0
    assert multiprocessing.active_children() == []


def test_a_run_that_is_stopped_exits(tmp_path: Path, recipe) -> None:
    code = (
        'import sys; from pathlib import Path; from ext_core import launch; '
        'sys.exit(launch.train(Path(sys.argv[1]), sys.argv[2:]))'
    )
    command = [sys.executable, '-c', code, str(tmp_path), *recipe, '--force_yml', 'train:total_iter=100000']
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        patience = threading.Timer(180, run.kill)
        patience.start()
        for line in run.stdout:
            if 'iter:       3' in line:
                run.send_signal(signal.SIGTERM)
            if 'Stopped by' in line:
                break
        run.communicate()
        patience.cancel()
    assert run.returncode == 128 + signal.SIGTERM


def test_spawned_workers_read_the_same(tmp_path: Path, monkeypatch) -> None:
    """Windows and macOS fork no workers; spawned ones have to register BasicSR's datasets before they unpickle one."""
    demo = ensure_demo_data(tmp_path, 2) / 'train'
    train = {
        'type': 'PairedImageDataset', 'name': 'demo', 'phase': 'train', 'scale': 2, 'gt_size': 64, 'use_hflip': True,
        'use_rot': True, 'dataroot_gt': str(demo / 'gt.lmdb'), 'dataroot_lq': str(demo / 'lq_x2.lmdb'),
        'io_backend': {'type': 'lmdb'}, 'batch_size_per_gpu': 4, 'pin_memory': False,
    }  # fmt: skip
    common = {'world_size': 1, 'rank': 0, 'manual_seed': 3, 'num_gpu': 0, 'dist': False}

    def first(workers: int) -> dict:
        opt = {**common, 'datasets': {'train': {**train, 'num_worker_per_gpu': workers}}}
        with closing(iter(TrainingBatches(opt))) as batches:
            return next(batches)

    expected = first(0)
    monkeypatch.setattr(
        multiprocessing.context._default_context, '_actual_context', multiprocessing.get_context('spawn')
    )
    got = first(1)
    assert all(torch.equal(got[part], expected[part]) for part in ('lq', 'gt'))
