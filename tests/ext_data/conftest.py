"""Pools of images in the current folder, as files and as LMDBs."""

from pathlib import Path

import cv2
import pytest
from unpaired_pools import HR, HR_NAMES, LR, LR_NAMES, coded, write_lmdb


@pytest.fixture(params=['disk', 'lmdb'])
def backend(request):
    return request.param


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, names, size in (('hr', HR_NAMES, HR), ('real', LR_NAMES, LR)):
        Path(folder).mkdir()
        for number, name in enumerate(names):
            cv2.imwrite(f'{folder}/{name}.png', coded(size, number))


@pytest.fixture
def lmdbs(folders):
    for folder in ('hr', 'real'):
        write_lmdb(folder)
