"""The doctor: a report and an exit status, whatever is missing."""

import contextlib
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import on_processes

from ext_core import doctor
from ext_core.doctor import Problem, Section

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


def report_of_another(rank: int, folder: str, module: str) -> tuple[int, str]:
    """Exit status and report in a fork, where another module of this name comes first."""
    patched = 'torchvision.transforms.functional_tensor'
    for name in [name for name in sys.modules if name.split('.')[0] in (module, 'ext_core') or name == patched]:
        del sys.modules[name]
    sys.path.insert(0, folder)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = importlib.import_module('ext_core.doctor').main(['--root', folder])
    return status, said.getvalue()


@pytest.mark.parametrize(
    ('module', 'content', 'message'),
    [
        ('basicsr', '__version__ = "1.3.5"', 'BasicSR 1.3.5 is installed, 1.4.2 is needed'),
        ('basicsr', 'raise RuntimeError("operator lost")', 'RuntimeError: operator lost'),
        ('torch', 'raise ModuleNotFoundError("No module named torch", name="torch")', 'torch is not installed'),
    ],
)
def test_training_cannot_work(tmp_path: Path, module: str, content: str, message: str) -> None:
    (tmp_path / module).mkdir()
    (tmp_path / module / '__init__.py').write_text(content)
    if module == 'torch':
        done = run('--root', str(tmp_path), shadow=tmp_path)
        assert 'Traceback' not in done.stderr
        status, report = done.returncode, done.stdout
    else:
        ((status, report),) = on_processes(report_of_another, str(tmp_path), module, count=1, join=False)
    assert status == 1
    assert message in report
    assert 'must be mended' in report
    assert any(remedy in report for remedy in ('pip install', 'make install', 'install-basicsr'))
    assert 'Project folder' in report  # the report goes on


def test_help() -> None:
    report = run('--help')
    assert report.returncode == 0
    assert 'example: python -m ext_core.doctor' in report.stdout


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


def test_torchvision_of_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('torch.__version__', '2.14.1+cpu')
    section = Section('Patches')
    doctor._name_mismatch(section)
    (problem,) = section.problems
    assert not problem.fatal
    assert 'was not built for torch 2.14.1+cpu' in problem.text
    assert problem.remedy.endswith('pip install torch==2.14.1 torchvision==0.29.*')


def test_cuda_build_without_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr('torch.version.cuda', None)
    assert doctor._devices().problems == []
    monkeypatch.setattr('torch.version.cuda', '13.0')
    (problem,) = doctor._devices().problems
    assert 'built for CUDA 13.0' in problem.text
    assert 'nvidia-smi' in problem.remedy


def test_without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    (problem,) = doctor._logging().problems
    assert 'pip install tensorboard' in problem.remedy
    assert not problem.fatal


@pytest.mark.parametrize(('fatal', 'status'), [(False, 0), (True, 1)])
def test_status_follows_the_problems(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, fatal: bool, status: int
) -> None:
    sections = [Section('One', ['line'], [Problem('lost', 'find it\nthen use it', fatal)]), Section('Two')]
    monkeypatch.setattr(doctor, 'examine', lambda root: sections)
    assert doctor.main([]) == status
    kind = 'must' if fatal else 'may'
    expected = f'One\n  line\n\nTwo\n\nProblems: 1\n- lost ({kind} be mended)\n    find it\n    then use it\n'
    assert capsys.readouterr().out == expected
    assert doctor.render(sections[1:]).endswith('No problems.')
