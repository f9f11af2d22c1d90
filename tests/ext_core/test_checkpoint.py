"""Atomic writes, safe loading, and the random state."""

import hashlib
import os
import random
import resource
import signal
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ext_core.atomic import atomic_save, atomic_write_text, remove_leftovers, sum_of
from ext_core.errors import UserError
from ext_core.networks.weight_files import load_checkpoint
from ext_data.samples import rng_state, set_rng_state


@pytest.fixture
def tiny_disk():
    """No file can grow beyond 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_save_and_load(tmp_path: Path) -> None:
    atomic_save({'params': {'weight': torch.arange(3)}}, tmp_path / 'net.pth')
    assert load_checkpoint(tmp_path / 'net.pth')['params']['weight'].tolist() == [0, 1, 2]
    assert os.listdir(tmp_path) == ['net.pth']


def test_text_is_replaced(tmp_path: Path) -> None:
    atomic_write_text('old and longer', tmp_path / 'a.json')
    atomic_write_text('né', str(tmp_path / 'a.json'))
    assert (tmp_path / 'a.json').read_bytes() == 'né'.encode()
    assert os.listdir(tmp_path) == ['a.json']


@pytest.mark.parametrize('write', [atomic_save, atomic_write_text])
def test_full_disk_keeps_the_old_file(tmp_path: Path, tiny_disk: None, write) -> None:
    path = tmp_path / '5.state'
    path.write_bytes(b'old')
    with pytest.raises(UserError, match=r'5\.state could not be written: .*Free disk space'):
        write('x' * 5000, path)
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['5.state']


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(UserError, match='pipe is a folder or a device'):
        atomic_write_text('x', tmp_path / 'pipe')
    assert (tmp_path / 'pipe').is_fifo()


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    name = 'n' * 251 + '.txt'
    atomic_write_text('x', tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'net\.pth could not be written: .*No such file'):
        atomic_save({}, tmp_path / 'none' / 'net.pth')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=r'net\.pth could not be written: .*Not a directory'):
        atomic_save({}, tmp_path / 'file' / 'net.pth')


def test_what_cannot_be_pickled_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match='pickle'):
        atomic_save({'lock': threading.Lock()}, tmp_path / 'net.pth')
    assert os.listdir(tmp_path) == []


def test_content_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(os, 'fsync', lambda descriptor: calls.append('fsync'))
    replace = os.replace
    monkeypatch.setattr(os, 'replace', lambda *paths: (calls.append('replace'), replace(*paths)))
    atomic_save({}, tmp_path / 'net.pth')
    assert calls == ['fsync', 'replace', 'fsync']  # the last is the folder's


def test_kill_leaves_only_whole_files(tmp_path: Path) -> None:
    """A process that saves without pause is killed; what it leaves loads, whatever the moment."""
    path = tmp_path / 'net.pth'
    for _ in range(3):
        child = os.fork()
        if child == 0:
            while True:
                atomic_save({'iter': 7, 'weight': torch.zeros(100_000)}, path)
        while not path.exists():
            time.sleep(0.005)
        time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert load_checkpoint(path)['iter'] == 7
    assert [name for name in os.listdir(tmp_path) if not name.startswith('.')] == ['net.pth']


def test_sum_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / 'net.pth'
    written = atomic_save({'weight': torch.arange(10_000)}, path)
    assert written == sum_of(path) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_reason_of_the_system_is_told(tmp_path: Path, tiny_disk: None) -> None:
    """torch.save itself raises 'unexpected pos', whatever the system said."""
    with pytest.raises(UserError, match=r'net\.pth could not be written: .*File too large'):
        atomic_save({'weight': torch.zeros(100_000)}, tmp_path / 'net.pth')


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    for name in ('.net_g_6.pth.tmp', 'net_g_6.pth', '.hidden', 'notes.tmp'):
        (tmp_path / name).write_bytes(b'')
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {'net_g_6.pth', '.hidden', 'notes.tmp'}


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'gone\.pth does not exist'):
        load_checkpoint(tmp_path / 'gone.pth')


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Further ones are in test_hostile_files.py."""
    path = tmp_path / 'net.pth'
    torch.save({'weight': torch.zeros(1000)}, path)
    content = path.read_bytes()
    cut = [content[:size] for size in (10, 2000, len(content) - 1)]
    garbage = [b'\x80\x02' + random.Random(seed).randbytes(200) for seed in range(20)]  # begins like a pickle
    for damaged in (*cut, *garbage):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r'net\.pth cannot be read: .*truncated'):
            load_checkpoint(path)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_the_unsafe_way_is_not_advised(tmp_path: Path) -> None:
    torch.save({'params': Payload(tmp_path / 'ran')}, tmp_path / 'net.pth')
    with pytest.raises(UserError) as error:
        load_checkpoint(tmp_path / 'net.pth')
    assert 'holds Python objects' in str(error.value)
    assert 'could run code' in str(error.value)
    assert 'weights_only' not in str(error.value)
    assert not (tmp_path / 'ran').exists()


def test_a_compressed_archive_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    torch.save({'params': {'weight': torch.zeros(1 << 20)}}, tmp_path / 'net.pth')
    with zipfile.ZipFile(tmp_path / 'net.pth') as plain, zipfile.ZipFile(tmp_path / 'bomb.pth', 'w') as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    assert (tmp_path / 'bomb.pth').stat().st_size < 10_000
    with pytest.raises(UserError, match=r'bomb\.pth is compressed'):
        load_checkpoint(tmp_path / 'bomb.pth')


def draw() -> tuple[float, ...]:
    legacy = np.random  # the generator BasicSR draws from
    return random.gauss(0, 1), legacy.rand(), legacy.randn(), torch.rand(1).item()


def test_random_state_survives_a_file(tmp_path: Path) -> None:
    draw()  # leaves the second value of a Gaussian pair in Python's and NumPy's state
    atomic_save(rng_state(), tmp_path / 'rng.state')
    expected = [draw() for _ in range(3)]
    assert [draw() for _ in range(3)] != expected
    set_rng_state(load_checkpoint(tmp_path / 'rng.state'))
    assert [draw() for _ in range(3)] == expected


def test_random_state_of_every_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {0: torch.tensor([1]), 1: torch.tensor([2])}
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: len(states))
    monkeypatch.setattr(torch.cuda, 'get_rng_state_all', lambda: list(states.values()))
    monkeypatch.setattr(torch.cuda, 'set_rng_state', lambda state, device: states.update({device: state}))
    saved = rng_state()
    states.update({0: torch.tensor([8]), 1: torch.tensor([9])})
    set_rng_state(saved)
    assert [state.item() for state in states.values()] == [1, 2]
    del states[1]  # resumed on a machine with one device
    set_rng_state(saved)
    assert list(states) == [0]
