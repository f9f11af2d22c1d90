"""A package pyiqa of three metrics, written to a folder, for tests where the real one is not installed."""

import sys
from pathlib import Path

import pytest
from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY

CONFIGS = """
DEFAULT_CONFIGS = {
    'near': {'metric_opts': {'type': 'Near'}, 'metric_mode': 'FR', 'lower_better': True, 'score_range': '0, 1'},
    'alike': {'metric_opts': {'type': 'Alike'}, 'metric_mode': 'FR', 'score_range': '~0, ~1'},
    'bright': {'metric_opts': {'type': 'Bright'}, 'metric_mode': 'NR', 'score_range': '0, 100'},
    'fid': {'metric_opts': {'type': 'FID'}, 'metric_mode': 'NR', 'lower_better': True},
}
"""
PACKAGE = """
import torch
from .default_model_configs import DEFAULT_CONFIGS

def create_metric(name, as_loss=False, device=None, pretrained_model_path=None, power=2, offline=False):
    torch.rand(3)  # as an initialisation before the weights are loaded
    if offline:
        print('Downloading: "https://host/Near-1.pth" to /cache/Near-1.pth')
        raise OSError('no network')
    return Metric(name, as_loss, power, torch.load(pretrained_model_path) if pretrained_model_path else 1.0)

class Metric(torch.nn.Module):
    def __init__(self, name, as_loss, power, factor):
        super().__init__()
        self.name, self.as_loss, self.power = name, as_loss, power
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, x, gt=None):
        assert (gt is not None) == (self.name != 'bright')
        with torch.set_grad_enabled(self.as_loss and self.name != 'bright'):
            if self.name == 'bright':
                score = 100 * x.mean((1, 2, 3))
            else:
                score = self.factor * (x - gt).abs().pow(self.power).mean((1, 2, 3))
                score = 1 - score if self.name == 'alike' else score
        return score.mean() if self.as_loss else score
"""


def imported() -> list[str]:
    """Modules of the real package or of this one."""
    return [name for name in sys.modules if name.partition('.')[0] == 'pyiqa']


def forget() -> None:
    """Leave nothing of it in this process."""
    from ext_metrics import pyiqa_metric

    pyiqa_metric._built.cache_clear()
    for name in imported():
        del sys.modules[name]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put it first where Python looks, and register its metrics, until the end of the test; then :func:`forget` it."""
    (folder / 'pyiqa').mkdir()
    (folder / 'pyiqa' / '__init__.py').write_text(PACKAGE)
    (folder / 'pyiqa' / 'default_model_configs.py').write_text(CONFIGS)
    monkeypatch.syspath_prepend(str(folder))
    for name in imported():
        monkeypatch.delitem(sys.modules, name)
    for registry in (LOSS_REGISTRY, METRIC_REGISTRY):
        others = {name: one for name, one in registry if not name.startswith('pyiqa.')}
        monkeypatch.setattr(registry, '_obj_map', others)
    from ext_losses import pyiqa_loss
    from ext_metrics import pyiqa_metric

    pyiqa_metric._built.cache_clear()
    pyiqa_loss.register()
    pyiqa_metric.register()
