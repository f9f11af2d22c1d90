"""Images, LMDBs, folders and losses that a run cannot use end in one clear message.

What the check says of files is in tests/ext_core/test_check_files.py.
"""

import os
from pathlib import Path

import bad_input_run
import lmdb
import pytest
import torch
import yaml
from bad_input_run import NAMES, png
from basicsr.archs import build_network

from ext_core import launch

run = bad_input_run.run


def write_lmdb(folder: Path, contents: dict[str, bytes], size: int) -> None:
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for name, content in contents.items():
            transaction.put(name.encode(), content)
    (folder / 'meta_info.txt').write_text(''.join(f'{name}.png ({size},{size},3) 1\n' for name in contents))


# ---------------------------------------------------------------------- images
def test_pairs_that_differ_in_size(run):
    (run.root / 'lq' / 'img1.png').write_bytes(png(20))
    run.refused('img1.png is 64 x 64', 'img1.png, 20 x 20', '1 of the 4 pairs')


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


# ---------------------------------------------------------------------- weights, results, losses
def test_file_in_the_way_of_experiments(run):
    root = run.root / 'elsewhere'
    root.mkdir()
    (root / 'experiments').write_text('a file')
    (run.root / 'opt.yml').write_text(yaml.safe_dump(run.opt))
    assert launch.train(root, ['-opt', 'opt.yml']) == 1
    printed = run.capfd.readouterr().err
    assert f'{root}/experiments is a file' in printed
    assert 'Traceback' not in printed
    assert (root / 'experiments').read_text() == 'a file'


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_unwritable_experiments(run):
    (run.root / 'experiments').chmod(0o500)
    run.put('name', 'new')
    try:
        run.refused('experiments is not writable')
    finally:
        (run.root / 'experiments').chmod(0o700)


@pytest.mark.parametrize('model_type', ['SRModel', 'ExtSRModel'])
def test_loss_that_is_not_finite(run, model_type):
    run.put('model_type', model_type)
    net = build_network(dict(run.opt['network_g']))
    torch.nn.init.constant_(net.conv_last.bias, float('inf'))  # which networks may hold, other than NaN
    torch.save({'params': net.state_dict()}, run.root / 'infinite.pth')
    run.put('path:pretrain_network_g', 'infinite.pth')
    run.put('logger:print_freq', 2)
    if model_type == 'SRModel':  # it looks at its loss in the first step
        run.refused('l_pix', 'not finite', 'train:optim_g:lr')
        return
    run.stopped('l_pix', 'not finite', 'train:optim_g:lr')
    assert list((run.root / 'experiments' / 'run' / 'models').iterdir()) == []
