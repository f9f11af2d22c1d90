"""Patches are applied once, to the release that they are for; and the launchers' environment."""

import sys
from pathlib import Path

import pytest
import torch

from ext_core import compat
from ext_core.errors import UserError


def test_apply_is_idempotent() -> None:
    from basicsr.models.base_model import BaseModel

    before = vars(BaseModel).copy()
    compat.apply()
    assert vars(BaseModel) == before
    assert {patch.state for patch in compat.patches()} <= {'applied', 'not needed'}


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
