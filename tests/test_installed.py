"""Without a clone: the wheel, installed without network into a folder, works from an empty one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, '-m', 'pip', '--no-cache-dir', '--disable-pip-version-check', '-q']
PARTS = ('ext_*', 'options', 'generators', 'scripts', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE')


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """A folder with the installed wheel."""
    source = tmp_path_factory.mktemp('source')
    for part in (found for pattern in PARTS for found in PROJECT.glob(pattern)):
        copy = shutil.copytree if part.is_dir() else shutil.copy
        copy(part, source / part.name)
    target = tmp_path_factory.mktemp('site')
    offline = ['--no-index', '--no-deps', '--no-build-isolation']
    subprocess.run([*PIP, 'install', *offline, '--target', target, source], check=True)  # by way of a wheel
    return target


@pytest.fixture
def command(site, tmp_path, monkeypatch):
    """Run ``basicsr-ext`` in an empty folder: ``command(*arguments)`` gives the ended process."""
    environment = os.environ | {'PYTHONPATH': str(site), 'CUDA_VISIBLE_DEVICES': ''}
    start = [sys.executable, str(site / 'bin' / 'basicsr-ext')]

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([*start, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True,
                              timeout=120, check=False)  # fmt: skip

    return run


def test_train_tries_a_recipe_of_the_package(command, tmp_path):
    small = 'network_g: {num_feat: 4, num_block: 1}\ndatasets: {train: {gt_size: 32, num_worker_per_gpu: 0}}\n'
    (tmp_path / 'mine.yml').write_text(f'_base_: basicsr-ext://train_rrdb_psnr.yml\nname: mine\n{small}')
    done = command('train', '-opt', 'mine.yml', '--demo', '--dry-run')
    assert done.returncode == 0, done.stderr
    assert 'Dry run of demo_mine' in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ['mine.yml']


def test_upscale_writes_into_the_present_folder(command, tmp_path):
    cv2.imwrite(str(tmp_path / 'photo.png'), np.full((12, 16, 3), 90, np.uint8))
    done = command('upscale', '-i', 'photo.png', '-o', 'enlarged')
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(tmp_path / 'enlarged' / 'photo.png')).shape == (48, 64, 3)


def test_every_command_is_listed_and_speaks_of_itself(command):
    listed = command('--help').stdout
    for name in ('train', 'test', 'doctor', 'upscale', 'prepare-data', 'evaluate', 'report', 'get-weights'):
        assert f'\n  {name} ' in listed
    said = command('prepare-data', '--help').stdout
    assert said.startswith('usage: basicsr-ext prepare-data')
    assert 'scripts/' not in said
    assert 'basicsr-ext prepare-data --hr' in said
    unknown = command('enlarge')
    assert unknown.returncode == 2
    assert 'there is no command enlarge' in unknown.stderr


def test_exec_writes_into_a_function_while_basicsr_is_built():
    """As setup.py of BasicSR 1.4.2 expects it; Python itself does so until 3.12."""
    cure = PROJECT / 'ext_core' / 'basicsr_build'
    code = 'def f():\n    exec("found = 7")\n    return locals()["found"]\nprint(f())'
    environment = os.environ | {'PYTHONPATH': str(cure)}
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == '7\n'
