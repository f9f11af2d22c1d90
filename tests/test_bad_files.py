"""Images, LMDBs, folders and losses that a run cannot use end in one clear message.

What the check says of files is in tests/ext_core/test_check_files.py.
"""

import os
from pathlib import Path

import bad_input_run
import lmdb
import pytest
from bad_input_run import NAMES, png

run = bad_input_run.run


def write_lmdb(folder: Path, contents: dict[str, bytes], size: int) -> None:
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for name, content in contents.items():
            transaction.put(name.encode(), content)
    (folder / 'meta_info.txt').write_text(''.join(f'{name}.png ({size},{size},3) 1\n' for name in contents))


# ---------------------------------------------------------------------- images


@pytest.mark.parametrize('workers', [0, 1])
def test_one_corrupt_training_image_is_passed_over(run, workers):
    (run.root / 'lq' / 'img1.png').write_bytes(b'garbage')
    run.put('datasets:train:num_worker_per_gpu', workers)
    status, printed = run.launch()
    assert status == 0, printed
    assert 'skipped (1 of at most 10 so far): lq/img1.png and gt/img1.png' in printed
    assert printed.count('skipped (1 of') == 1
    assert 'Traceback' not in printed
    assert (run.root / 'experiments' / 'run' / 'models' / 'net_g_4.pth').is_file()


@pytest.mark.parametrize('workers', [0, 1])
def test_too_many_corrupt_training_images(run, workers):
    for name in ('img1', 'img2'):
        path = run.root / 'lq' / f'{name}.png'
        path.write_bytes(path.read_bytes()[:-100])  # headers are looked at before
    run.put('datasets:train:max_bad_samples', 1)
    run.put('datasets:train:num_worker_per_gpu', workers)
    run.stopped('2 training samples cannot be read', 'datasets:train:max_bad_samples (1)', 'lq/img')


def test_too_many_corrupt_headers(run):
    for name in ('img1', 'img2'):
        (run.root / 'lq' / f'{name}.png').write_bytes(b'')
    run.put('datasets:train:max_bad_samples', 1)
    run.refused('datasets:train: 2 of the 4 samples', 'max_bad_samples (1)', 'lq/img1.png: it is empty (0 bytes)')


def test_corrupt_image_in_an_lmdb(run):
    write_lmdb(run.root / 'gt.lmdb', {name: png(64) for name in NAMES}, 64)
    write_lmdb(run.root / 'lq.lmdb', {name: b'garbage' if name == 'img1' else png(16) for name in NAMES}, 16)
    run.opt['datasets']['train'] |= {'dataroot_gt': 'gt.lmdb', 'dataroot_lq': 'lq.lmdb', 'io_backend': {'type': 'lmdb'}}
    status, printed = run.launch()
    assert status == 0, printed
    assert 'skipped (1 of at most 10 so far): img1' in printed
    assert 'Traceback' not in printed


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_unwritable_experiments(run):
    (run.root / 'experiments').chmod(0o500)
    run.put('name', 'new')
    try:
        run.refused('experiments is not writable')
    finally:
        (run.root / 'experiments').chmod(0o700)
