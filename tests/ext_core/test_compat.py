"""Every compatibility patch: the symptom without it, the cure with it, nothing where there is no symptom."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compat_scenarios import SCENARIOS, patched_names

from ext_core import compat
from ext_core.compat import imports
from ext_core.compat.patch import Patch, rebind
from ext_core.errors import UserError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
IMPORT_SYMPTOMS = {
    'torchvision_ops': r'operator torchvision::nms does not exist',
    'functional_tensor': r"No module named 'torchvision.transforms.functional_tensor'",
    'distutils': r'import of distutils',  # blocked in the subprocess, as in Python 3.12
    'scipy_filters': r'import of scipy.ndimage.filters',  # blocked, as announced for SciPy 2.0
}


def find(name: str) -> Patch:
    return next(patch for patch in compat.patches() if patch.name == name)


@pytest.fixture(scope='module')
def stock() -> dict:
    """Outcomes in a process with nothing but the import patches."""
    command = [sys.executable, str(HERE / 'compat_scenarios.py')]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stdout.splitlines() if line.startswith('JSON ')]
    assert lines, done.stderr
    return json.loads(lines[0].removeprefix('JSON '))


@pytest.mark.parametrize('name', [patch.name for patch in imports.PATCHES])
def test_import_fails_without_patch(stock: dict, name: str) -> None:
    if find(name).state == 'not needed' and name in ('torchvision_ops', 'functional_tensor'):
        assert stock['imports'][name] == 'passed'
    else:
        assert re.search(IMPORT_SYMPTOMS[name], stock['imports'][name])


def test_import_works_with_all_import_patches(stock: dict) -> None:
    assert stock['imports']['all'] == 'passed'


@pytest.mark.parametrize('name', SCENARIOS)
def test_scenario(stock: dict, name: str) -> None:
    scenario = SCENARIOS[name]
    if find(scenario.patch).state == 'not needed':
        assert stock['stock'][name] == 'passed'
    else:
        assert re.search(scenario.symptom, stock['stock'][name])
    scenario.run()


def test_every_patch_has_a_scenario() -> None:
    covered = {scenario.patch for scenario in SCENARIOS.values()} | set(IMPORT_SYMPTOMS)
    assert covered == {patch.name for patch in compat.patches()}


def test_names_and_causes_are_given_once() -> None:
    names = [patch.name for patch in compat.patches()]
    assert len(names) == len(set(names))
    assert all(patch.cause for patch in compat.patches())


def test_every_patch_and_only_those_are_documented() -> None:
    text = (ROOT / 'docs' / 'compatibility.md').read_text(encoding='utf-8')
    rows = [line.split(' | ')[-1] for line in text.splitlines() if line.startswith('| ') and line.count(' | ') == 2]
    documented = {name for cell in rows for name in re.findall(r'`([a-z0-9_]+)`', cell)}
    assert documented == {patch.name for patch in compat.patches()}


def test_apply_is_idempotent() -> None:
    from basicsr.models.base_model import BaseModel

    before = vars(BaseModel).copy()
    compat.apply()
    assert vars(BaseModel) == before
    assert {patch.state for patch in compat.patches()} <= {'applied', 'not needed'}


def test_nothing_changes_without_symptoms(stock: dict) -> None:
    assert patched_names()  # the scan finds patches where there are any
    assert stock['patched_names'] == []  # there, every guard said no before compat.apply() ran


def test_guard_decides() -> None:
    called: list[str] = []
    patch = Patch('x', 'y', cure=lambda: called.append('cure'), needed=lambda: False)
    patch.apply()
    assert (patch.state, called) == ('not needed', [])
    for needed in (lambda: True, None):
        called.clear()
        patch = replace(patch, state='pending', needed=needed)
        patch.apply()
        patch.apply()
        assert (patch.state, called) == ('applied', ['cure'])


def test_cured_symptoms_are_absent() -> None:
    """The guards that provoke the symptom see that it is gone."""
    assert [find(name).needed() for name in ('filter2d', 'jpeg_quality')] == [False, False]


def test_rebind_reaches_importing_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    from basicsr.models import realesrgan_model
    from basicsr.utils import img_process_util

    stock = img_process_util.filter2D
    monkeypatch.setattr(img_process_util, 'filter2D', stock)  # restored after the test
    monkeypatch.setattr(realesrgan_model, 'filter2D', stock)
    rebind(stock, max)
    try:
        assert img_process_util.filter2D is realesrgan_model.filter2D is max
    finally:
        rebind(max, stock)


@pytest.mark.parametrize(
    ('content', 'message'),
    [(None, 'BasicSR is not installed'), ('__version__ = "1.3.5"', 'BasicSR 1.3.5 is installed, 1.4.2 is needed')],
)
def test_wrong_basicsr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str) -> None:
    """A folder of that name without __init__ is what Python finds in our project where BasicSR is not installed."""
    package = tmp_path / 'basicsr'
    package.mkdir()
    if content is not None:
        (package / '__init__.py').write_text(content)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *[path for path in sys.path if 'site-packages' not in path]])
    for name in [name for name in sys.modules if name.split('.')[0] == 'basicsr']:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=message) as raised:
        compat.import_basicsr()
    assert 'pip install' in str(raised.value)
    monkeypatch.delitem(sys.modules, 'basicsr', raising=False)


@pytest.mark.parametrize(('launcher', 'variable'), [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID')])
def test_launcher_outside_its_job(monkeypatch: pytest.MonkeyPatch, launcher: str, variable: str) -> None:
    from basicsr.utils import dist_util

    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=f'--launcher {launcher}: .* {variable} is not set'):
        getattr(dist_util, f'_init_dist_{launcher}')('nccl')


def test_launcher_chooses_the_local_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from basicsr.utils import dist_util

    chosen: list[object] = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    monkeypatch.setattr(torch.cuda, 'set_device', chosen.append)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend, timeout: chosen.append(backend))
    monkeypatch.setattr(torch.distributed.distributed_c10d, '_set_pg_timeout', lambda timeout, group: None)
    monkeypatch.setenv('RANK', '6')
    monkeypatch.setenv('LOCAL_RANK', '1')
    dist_util._init_dist_pytorch('nccl')
    monkeypatch.delenv('LOCAL_RANK')
    dist_util._init_dist_pytorch('nccl')
    assert chosen == [1, 'nccl', 6 % 4, 'nccl']


def _two_processes(folder: Path, state: str) -> list[str]:
    """Outcome of each rank, '' where it died."""
    address = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(_free_port()), 'WORLD_SIZE': '2'}
    command = [sys.executable, str(HERE / 'compat_pair.py'), str(folder), state]
    ranks = [
        subprocess.Popen(
            command,
            env={**ENVIRONMENT, **address, 'RANK': rank, 'LOCAL_RANK': rank},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for rank in '01'
    ]
    for process in ranks:
        try:
            process.wait(timeout=240)  # a busy machine takes that long to import
        except subprocess.TimeoutExpired:
            process.kill()
    files = [folder / f'{rank}.json' for rank in '01']
    return [json.loads(file.read_text()) if file.is_file() else '' for file in files]


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def test_two_processes_train_and_validate(tmp_path: Path) -> None:
    assert _two_processes(tmp_path, 'patched') == ['passed', 'passed']


def test_two_processes_fail_without_bare_network(tmp_path: Path) -> None:
    outcomes = _two_processes(tmp_path, 'stock')
    assert outcomes != ['passed', 'passed']
    assert any(re.search('Connection|Timed out|gloo', text) for text in outcomes)
