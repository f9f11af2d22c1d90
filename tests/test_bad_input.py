"""Bad input ends in one clear message, before anything is created: through the launcher, from the option file on."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch
import yaml
from basicsr.utils import logger as basicsr_logger

from ext_core import launch

PROJECT = Path(__file__).resolve().parents[1]
NAMES = [f'img{i}' for i in range(4)]
TIMEOUT = 60  # seconds, for any one run


def png(size: int, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    return cv2.imencode('.png', noise)[1].tobytes()


def write_lmdb(folder: Path, contents: dict[str, bytes], size: int) -> None:
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for name, content in contents.items():
            transaction.put(name.encode(), content)
    (folder / 'meta_info.txt').write_text(''.join(f'{name}.png ({size},{size},3) 1\n' for name in contents))


class Run:
    """A tiny recipe in a folder of its own, to be spoilt and launched; and what the launch did."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture):
        self.root = root
        self.capfd = capfd
        for folder, size in (('gt', 64), ('lq', 16)):
            (root / folder).mkdir()
            for seed, name in enumerate(NAMES):
                (root / folder / f'{name}.png').write_bytes(png(size, seed))
        paired = {
            'type': 'PairedImageDataset',
            'dataroot_gt': 'gt',
            'dataroot_lq': 'lq',
            'io_backend': {'type': 'disk'},
        }
        self.opt: dict = {
            'name': 'run',
            'model_type': 'SRModel',
            'scale': 4,
            'num_gpu': 0,
            'manual_seed': 0,
            'datasets': {
                'train': paired
                | {
                    'name': 'train',
                    'gt_size': 32,
                    'use_hflip': True,
                    'use_rot': True,
                    'num_worker_per_gpu': 0,
                    'batch_size_per_gpu': 2,
                    'dataset_enlarge_ratio': 2,
                }
            },
            'network_g': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 4},
            'path': {'pretrain_network_g': None, 'resume_state': None},
            'train': {
                'optim_g': {'type': 'Adam', 'lr': 1e-4},
                'scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
                'total_iter': 4,
                'pixel_opt': {'type': 'L1Loss'},
            },
            'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
        }
        earlier = root / 'experiments' / 'run' / 'models'
        earlier.mkdir(parents=True)
        (earlier / 'net_g_latest.pth').write_bytes(b'results of last week')

    def put(self, path: str, value: object) -> None:
        *above, last = path.split(':')
        place = self.opt
        for key in above:
            place = place[key]
        place[last] = value

    def experiments(self) -> list[tuple[str, bytes]]:
        files = (path for path in self.root.rglob('*') if path.is_file() and 'experiments' in path.parts)
        return sorted((str(path), path.read_bytes()) for path in files)

    def launch(self, *extra: str, text: str | None = None) -> tuple[int, str]:
        """Train in this process.

        Returns:
            tuple[int, str]: Exit status; all that was printed.
        """
        (self.root / 'opt.yml').write_text(yaml.safe_dump(self.opt) if text is None else text)
        self.capfd.readouterr()
        started = time.monotonic()
        status = launch.train(self.root, ['-opt', 'opt.yml', *extra])
        assert time.monotonic() - started < TIMEOUT
        captured = self.capfd.readouterr()
        return status, captured.out + captured.err

    def refused(self, *said: str, text: str | None = None) -> str:
        """Assert that the launch ends with this message before anything is touched."""
        before = self.experiments()
        status, printed = self.launch(text=text)
        assert status == 1, printed
        assert 'Traceback' not in printed
        message = printed[printed.index('error: ') :]
        for words in said:
            assert words in message, message
        assert self.experiments() == before
        assert sorted(path.name for path in (self.root / 'experiments').iterdir()) == ['run']
        return message

    def stopped(self, *said: str) -> str:
        """Assert that the training starts and then ends with this message; nothing earlier is lost."""
        status, printed = self.launch()
        assert status == 1, printed
        assert 'Traceback' not in printed
        message = printed[printed.index('error: ') :]
        for words in said:
            assert words in message, message
        archived = list((self.root / 'experiments').glob('run_archived_*/models/net_g_latest.pth'))
        assert [path.read_bytes() for path in archived] == [b'results of last week']
        return message


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    _forget_logger()
    yield Run(tmp_path, capfd)
    _forget_logger()


def _forget_logger() -> None:
    """BasicSR sets its logger up once a process; each run here is to have its own, on the terminal of its test."""
    logger = logging.getLogger('basicsr')
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    basicsr_logger.initialized_logger.clear()


def test_the_unspoilt_recipe_trains(run):
    status, printed = run.launch()
    assert status == 0, printed
    assert (run.root / 'experiments' / 'run' / 'models' / 'net_g_4.pth').is_file()


# ---------------------------------------------------------------------- options
@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        ('model_type', 'SRModle', ["model_type: there is no model 'SRModle'", "'SRModel'"]),
        ('network_g:type', 'MSRResnet', ["network_g:type: there is no network 'MSRResnet'", "'MSRResNet'"]),
        ('network_g:num_fet', 8, ['network_g:num_fet', "'num_feat'"]),
        ('train:pixel_opt:type', 'L1Los', ["train:pixel_opt:type: there is no loss 'L1Los'", "'L1Loss'"]),
        ('train:ema_deacy', 0.9, ['train:ema_deacy: unknown key', "'ema_decay'"]),
        ('path:pretrain_netwrok_g', 'x.pth', ['path:pretrain_netwrok_g: unknown key', "'pretrain_network_g'"]),
        ('train:total_iter', 'abc', ["train:total_iter must be a number of at least 1, but is 'abc'"]),
        ('scale', 2, ['network_g:upscale is 4, but scale is 2', 'set scale: 4']),
        ('network_g:upscale', 2, ['network_g:upscale is 2, but scale is 4']),
        ('datasets:train:gt_size', 128, ['crops of 128 do not fit', 'img0.png', 'at most 64']),
        ('datasets:train:dataroot_gt', 'gone', ['datasets:train:dataroot_gt: folder not found: gone']),
        ('datasets:train:dataroot_gt', None, ['datasets:train:dataroot_gt is missing']),
        ('datasets:train:batch_size_per_gpu', 9, ['do not fill one batch of 9']),
        ('path:pretrain_network_g', 'gone.pth', ['path:pretrain_network_g: file not found: gone.pth']),
    ],
)
def test_wrong_options_are_refused(run, path, value, said):
    run.put(path, value)
    run.refused(*said)


def test_all_problems_are_listed_at_once(run):
    run.put('model_type', 'SRModle')
    run.put('datasets:train:dataroot_lq', 'gone')
    run.refused('2 problems; nothing was created', 'model_type', 'datasets:train:dataroot_lq')


def test_yaml_that_constructs_objects(run):
    text = f'name: run\nscale: !!python/object/apply:os.system ["touch {run.root}/pwned"]\n'
    run.refused('opt.yml, line 2', 'Python objects are refused', text=text)
    assert not (run.root / 'pwned').exists()


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('name: run\nname: other\n', ["key 'name' is given twice, in lines 1 and 2"]),
        ('name: [run\n', ['opt.yml is not valid YAML', 'line 2']),
        ('- name\n', ['opt.yml: an option file is a mapping']),
        ('', ['opt.yml: an option file is a mapping', 'nothing']),
        ('name: run\n', ['model_type is missing', 'datasets is missing', 'train is missing']),
    ],
)
def test_files_that_are_no_options(run, text, said):
    run.refused(*said, text=text)


# ---------------------------------------------------------------------- images
def test_empty_folder(run):
    (run.root / 'empty').mkdir()
    run.put('datasets:train:dataroot_lq', 'empty')
    run.refused('datasets:train:dataroot_lq: no images in empty')


def test_pairs_that_differ_in_number(run):
    (run.root / 'lq' / 'img2.png').unlink()
    run.refused('4 images in gt, 3 in lq', 'without a low-quality partner: img2.png')


def test_pairs_that_differ_in_size(run):
    (run.root / 'lq' / 'img1.png').write_bytes(png(20))
    run.refused('img1.png is 64 x 64', 'img1.png, 20 x 20', '1 of the 4 pairs')


def test_corrupt_validation_image(run):
    run.opt['datasets']['val'] = {
        key: run.opt['datasets']['train'][key] for key in ('name', 'type', 'dataroot_gt', 'dataroot_lq', 'io_backend')
    }
    run.opt['val'] = {'val_freq': 2, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}}
    content = (run.root / 'gt' / 'img3.png').read_bytes()
    (run.root / 'gt' / 'img3.png').write_bytes(content[: len(content) // 2])
    run.refused('datasets:val: gt/img3.png cannot be read', 'Replace the file')


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
        (run.root / 'lq' / f'{name}.png').write_bytes(b'garbage')
    run.put('datasets:train:max_bad_samples', 1)
    run.put('datasets:train:num_worker_per_gpu', workers)
    run.stopped('2 training samples cannot be read', 'datasets:train:max_bad_samples (1)', 'lq/img')


def use_lmdb(run: Run, lq: dict[str, bytes]) -> None:
    write_lmdb(run.root / 'gt.lmdb', {name: png(64) for name in NAMES}, 64)
    write_lmdb(run.root / 'lq.lmdb', lq, 16)
    run.opt['datasets']['train'] |= {'dataroot_gt': 'gt.lmdb', 'dataroot_lq': 'lq.lmdb', 'io_backend': {'type': 'lmdb'}}


def test_corrupt_image_in_an_lmdb(run):
    use_lmdb(run, {name: b'garbage' if name == 'img1' else png(16) for name in NAMES})
    status, printed = run.launch()
    assert status == 0, printed
    assert 'skipped (1 of at most 10 so far): img1' in printed
    assert 'Traceback' not in printed


def test_truncated_lmdb(run):
    use_lmdb(run, {name: png(16) for name in NAMES})
    database = run.root / 'gt.lmdb' / 'data.mdb'
    database.write_bytes(database.read_bytes()[:-8192])
    run.refused('datasets:train:dataroot_gt: LMDB gt.lmdb is truncated')


# ---------------------------------------------------------------------- weights, results, losses
def test_unreadable_weights(run):
    (run.root / 'net.pth').write_bytes(b'garbage')
    run.put('path:pretrain_network_g', 'net.pth')
    run.refused('net.pth cannot be read')


def test_weights_for_another_network(run):
    from basicsr.archs.srresnet_arch import MSRResNet

    torch.save({'params': MSRResNet(num_feat=16, num_block=1, upscale=4).state_dict()}, run.root / 'net.pth')
    run.put('path:pretrain_network_g', 'net.pth')
    run.refused('net.pth holds weights for another network than this MSRResNet', 'strict_load_g: false')


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
    run.put('train:pixel_opt:loss_weight', float('nan'))
    run.put('logger:print_freq', 2)
    run.stopped('l_pix', 'not finite', 'train:optim_g:lr')
    assert list((run.root / 'experiments' / 'run' / 'models').iterdir()) == []


# ---------------------------------------------------------------------- the real command
def command(run: Run, text: str | None = None) -> subprocess.CompletedProcess:
    option_file = run.root / 'opt.yml'
    option_file.write_text(yaml.safe_dump(run.opt) if text is None else text)
    return subprocess.run(
        [sys.executable, 'basicsr/train.py', '-opt', str(option_file)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        ('network_g:type', 'MSRResnet', "Did you mean 'MSRResNet'?"),
        ('datasets:train:dataroot_gt', '/nonexistent/gt', 'folder not found: /nonexistent/gt'),
    ],
)
def test_the_command_prints_the_message_and_no_traceback(run, path, value, said):
    run.put('name', 'bad_input_of_the_test_suite')
    run.put('datasets:train:dataroot_gt', str(run.root / 'gt'))
    run.put('datasets:train:dataroot_lq', str(run.root / 'lq'))
    run.put(path, value)
    done = command(run)
    assert done.returncode == 1
    assert done.stderr.count('error: ') == 1
    assert said in done.stderr
    assert 'Traceback' not in done.stdout + done.stderr
    assert not (PROJECT / 'experiments' / 'bad_input_of_the_test_suite').exists()


def test_the_command_refuses_python_objects(run):
    done = command(run, text='name: !!python/name:os.system\n')
    assert done.returncode == 1
    assert 'Python objects are refused' in done.stderr
    assert 'Traceback' not in done.stderr
