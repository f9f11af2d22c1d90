"""The doctor: a report and an exit status, whatever is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ext_core import doctor

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, shadow: Path | None = None) -> subprocess.CompletedProcess:
    """The doctor in a process of its own; modules in the folder ``shadow`` hide installed ones."""
    paths = [str(path) for path in (shadow, ROOT) if path]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-m', 'ext_core.doctor', *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_healthy_installation(tmp_path: Path) -> None:
    image_folder = tmp_path / 'datasets' / 'Holiday' / 'HR'
    image_folder.mkdir(parents=True)
    (image_folder / 'a.png').touch()
    report = run('--root', str(tmp_path))
    assert report.returncode == 0, report.stdout + report.stderr
    lines = [' '.join(line.split()) for line in report.stdout.splitlines()]
    assert 'basicsr 1.4.2' in lines
    assert 'Holiday/HR 1 files' in lines
    assert any(line.startswith('load_network applied weights for another network') for line in lines)
    assert any(line.startswith('model ') and 'GANSRModel' in line for line in lines)
    assert any(line.startswith('demo not made yet') for line in lines)
    assert any(line.startswith('distributed nccl') for line in lines)
    assert 'Traceback' not in report.stderr


@pytest.mark.parametrize(
    ('module', 'content', 'message'),
    [
        ('basicsr', 'raise RuntimeError("operator lost")', 'RuntimeError: operator lost'),
        ('torch', 'raise ModuleNotFoundError("No module named torch", name="torch")', 'torch is not installed'),
    ],
)
def test_training_cannot_work(tmp_path: Path, module: str, content: str, message: str) -> None:
    (tmp_path / module).mkdir()
    (tmp_path / module / '__init__.py').write_text(content)
    report = run('--root', str(tmp_path), shadow=tmp_path)
    assert report.returncode == 1
    assert message in report.stdout
    assert 'must be mended' in report.stdout
    assert any(remedy in report.stdout for remedy in ('pip install', 'make install', 'install-basicsr'))
    assert 'Project folder' in report.stdout  # the report goes on
    assert 'Traceback' not in report.stderr


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    section = doctor._folder(tmp_path / 'gone')
    assert [problem.fatal for problem in section.problems] == [True]
    assert 'not writable: No such file' in section.problems[0].text


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._folder(tmp_path).problems == []
    monkeypatch.setattr(doctor, 'FREE_SPACE', float('inf'))
    (problem,) = doctor._folder(tmp_path).problems
    assert not problem.fatal
    assert 'GB are left' in problem.text
    assert list(tmp_path.iterdir()) == []


def test_missing_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {'vgg19': None, 'vgg16': Path('vgg16.pth'), 'alexnet': None}
    monkeypatch.setattr('ext_arch.pretrained.find_weights', found.get)
    (problem,) = doctor._weights().problems
    assert 'vgg19, alexnet' in problem.text
    assert not problem.fatal
    monkeypatch.setattr('ext_arch.pretrained.find_weights', lambda name: Path('a.pth'))
    assert doctor._weights().problems == []
