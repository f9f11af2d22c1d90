"""What a model saves, and the replaced ``load_network``: BasicSR's file formats and their meaning."""

from pathlib import Path

import pytest
import torch
from basicsr.models.base_model import BaseModel
from compat_tools import model
from torch import nn
from torch.nn.parallel import DataParallel

from ext_core.atomic import atomic_save
from ext_core.errors import UserError
from ext_core.networks.weight_files import load_checkpoint
from ext_core.train.checkpoint import on_cpu
from ext_core.train.models import checkpoint_networks, networks_of


@pytest.fixture
def one():
    """A base model."""
    return model()


class Saving(BaseModel):
    """As BasicSR's models save: wrapped or not, with an average or without."""

    def save(self, epoch: int, current_iter: int) -> None:
        self.save_network([self.net_g, self.net_g_ema], 'net_g', current_iter, ['params', 'params_ema'])
        self.save_network(self.net_d, 'net_d', current_iter)
        self.save_training_state(epoch, current_iter)


def test_model_is_asked_for_its_networks_and_stays_as_it_is(tmp_path: Path) -> None:
    one = Saving({'num_gpu': 0, 'is_train': True, 'dist': False})
    net, one.net_g_ema, one.net_d = nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Linear(2, 2)
    one.net_g = DataParallel(net)
    before = vars(one).copy()
    assert checkpoint_networks(one) == {
        'net_g': {'params': net, 'params_ema': one.net_g_ema},
        'net_d': {'params': one.net_d},
    }
    assert networks_of(one) == {'net_g': net, 'net_d': one.net_d}
    assert vars(one) == before
    assert one.save_network.__func__ is BaseModel.save_network


def test_stored_weights_have_the_versions_of_their_modules(tmp_path: Path) -> None:
    """Which loading consults."""
    net = nn.BatchNorm2d(2)
    atomic_save({'params': on_cpu(net.state_dict())}, tmp_path / 'net.pth')
    content = load_checkpoint(tmp_path / 'net.pth')['params']
    assert content._metadata == net.state_dict()._metadata
    assert list(content) == list(net.state_dict())


def saved(path: Path, net: nn.Module) -> str:
    torch.save({'params': net.state_dict()}, path)
    return str(path)


def test_average_falls_back_to_network(one, tmp_path: Path) -> None:
    net, loaded = nn.Linear(2, 2), nn.Linear(2, 2)
    one.load_network(DataParallel(loaded), saved(tmp_path / 'net_g_3.pth', net), True, 'params_ema')
    assert torch.equal(loaded.weight, net.weight)


def test_root_of_the_file(one, tmp_path: Path) -> None:
    net, loaded = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save(net.state_dict(), tmp_path / 'bare.pth')
    one.load_network(loaded, str(tmp_path / 'bare.pth'), True, None)
    assert torch.equal(loaded.weight, net.weight)


def test_not_strict_loads_what_fits(one, tmp_path: Path) -> None:
    net = nn.Linear(2, 3)
    loaded = nn.Sequential(nn.Linear(2, 3))
    loaded[0].weight = nn.Parameter(torch.zeros(5, 2))
    torch.save({'params': {f'0.{name}': value for name, value in net.state_dict().items()}}, tmp_path / 'part.pth')
    one.load_network(loaded, str(tmp_path / 'part.pth'), strict=False)
    assert torch.equal(loaded[0].bias, net.bias)
    assert loaded[0].weight.abs().sum() == 0


def test_error_names_the_options_of_the_discriminator(one, tmp_path: Path) -> None:
    one.net_g, one.net_d = nn.Linear(2, 2), DataParallel(nn.Linear(2, 3))
    file = saved(tmp_path / 'net_g_3.pth', one.net_g)
    with pytest.raises(UserError, match=r'path:pretrain_network_d .* network_d, .* path:strict_load_d: false'):
        one.load_network(one.net_d, file)


def test_error_counts_the_keys_it_does_not_show(one, tmp_path: Path) -> None:
    file = saved(tmp_path / 'net_g_3.pth', nn.Sequential(*[nn.Linear(1, 1) for _ in range(3)]))
    with pytest.raises(UserError, match=r'6 unknown to the network: 0\.weight, 0\.bias, 1\.weight, \.\.\.\n'):
        one.load_network(nn.Linear(1, 1), file)
