"""Make BasicSR importable and register the plugin before any test module is imported."""

import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from ext_core.registration import register_all

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / 'shared' / 'data'

os.environ.setdefault('OMP_NUM_THREADS', '1')
torch.set_num_threads(1)
if multiprocessing.get_start_method() == 'forkserver':  # Python 3.14; the training's loader forks, so do those of tests
    multiprocessing.set_start_method('fork', force=True)
register_all()

from narrow_vgg import narrow_vgg  # noqa: E402, which imports BasicSR


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Folder of real photographs beside the project; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip('needs the photographs in ../shared/data, which are not part of the project')
    return SHARED_DATA


@pytest.fixture(scope='session')
def demo_data(tmp_path_factory) -> Path:
    """The demo set, to be read only."""
    from ext_data.preparation.demo import ensure_demo_data

    return ensure_demo_data(tmp_path_factory.mktemp('demo'))


@pytest.fixture(autouse=True)
def narrow(request, monkeypatch) -> None:
    """VGGs are narrow, except in tests marked ``wide_vgg``."""
    if request.node.get_closest_marker('wide_vgg') is None:
        narrow_vgg(monkeypatch)


@pytest.fixture
def fresh_logger():
    """BasicSR's root logger as a new process has it, before and after the test."""
    import logging

    from basicsr.utils import logger as basicsr_logger

    def reset() -> None:
        logger = logging.getLogger('basicsr')
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        basicsr_logger.initialized_logger.clear()
        logger.setLevel(logging.NOTSET)

    reset()
    yield
    reset()


@pytest.fixture
def unchecked(monkeypatch):
    """Runs of right options without the check of them, which takes half of a small run's time."""
    monkeypatch.setattr('ext_core.options.check.check_options', lambda *arguments: None)
    monkeypatch.setattr('ext_core.launch.first_look', lambda *arguments: [])


@pytest.fixture
def in_project(monkeypatch, fresh_logger):
    """As a command is run: in the project's folder, in a new process; and without a GPU."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
