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
import torch.distributed as dist
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from compat_scenarios import SCENARIOS, patched_names
from processes import on_processes
from torch import nn
from torch.utils.data import DataLoader, Dataset

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
    """The guard that provokes the symptom sees that it is gone."""
    assert not find('filter2d').needed()


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
    assert 'install-basicsr' in str(raised.value)
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


# ---------------------------------------------------------------------- two processes
class Photos(Dataset):
    """Three constant images, whose LQ and GT differ by one grey level in the validation set."""

    opt = {'name': 'photos'}

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, object]:
        return {'lq': torch.full((3, 8, 8), 0.5), 'gt': torch.full((3, 8, 8), 0.5), 'lq_path': f'{index}.png'}


def options(folder: Path, rank: int) -> dict:
    """Options of an SRModel on this rank."""
    return {
        'model_type': 'SRModel', 'num_gpu': 0, 'dist': True, 'is_train': True, 'scale': 1,
        'rank': rank, 'world_size': 2, 'network_g': {'type': 'NormalisingNet'},
        'path': {'models': str(folder), 'training_states': str(folder)},
        'train': {'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'pixel_opt': {'type': 'L1Loss'},
                  'scheduler': {'type': 'MultiStepLR', 'milestones': [9]}},
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
    }  # fmt: skip


@ARCH_REGISTRY.register()
class NormalisingNet(nn.Sequential):
    """A network with buffers, which DistributedDataParallel broadcasts in every forward."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))


def train_and_validate(rank: int, folder: Path) -> bool:
    """Two iterations with different data on each rank, each with a validation."""
    assert dist.get_backend() == 'gloo'
    torch.manual_seed(0)
    model = build_model(options(folder, rank))
    for iteration in (1, 2):
        model.feed_data({'lq': torch.rand(2, 3, 8, 8), 'gt': torch.full((2, 3, 8, 8), float(rank))})
        model.optimize_parameters(iteration)
        model.validation(DataLoader(Photos()), iteration, None)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.net_g.parameters()])
    both = [torch.empty_like(weights) for _ in range(2)]
    dist.all_gather(both, weights)
    return torch.equal(*both)


def test_two_processes_train_and_validate(tmp_path: Path) -> None:
    """BasicSR's own model, on rank 0 alone where it validates, and neither waits for the other or drifts apart."""
    assert on_processes(train_and_validate, tmp_path) == [True, True]
