"""The replaced methods of BasicSR's base model keep its file formats and its meaning."""

from pathlib import Path

import pytest
import torch
from compat_tools import model
from torch import nn
from torch.nn.parallel import DataParallel

from ext_core.errors import UserError
from ext_core.saving.checkpoint import load_checkpoint


@pytest.fixture
def one(tmp_path: Path):
    """A base model that saves into the test's folder."""
    built = model(path={'models': str(tmp_path), 'training_states': str(tmp_path)})
    parameter = nn.Parameter(torch.zeros(2))
    built.optimizers = [torch.optim.Adam([parameter], lr=0.5)]
    built.schedulers = [torch.optim.lr_scheduler.StepLR(built.optimizers[0], 3)]
    return built


def test_network_and_average_in_one_file(one, tmp_path: Path) -> None:
    net, average = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    nn.init.constant_(average.weight, 5)
    one.save_network([DataParallel(net), average], 'net_g', -1, ['params', 'params_ema'])
    content = load_checkpoint(tmp_path / 'net_g_latest.pth')
    assert {key: list(weights) for key, weights in content.items()} == {
        'params': list(net.state_dict()),
        'params_ema': list(net.state_dict()),
    }
    assert content['params_ema']['weight'].tolist() == [5, 5]
    assert content['params']._metadata == net.state_dict()._metadata  # module versions, which loading consults
    with pytest.raises(ValueError, match='zip'):
        one.save_network([net, average], 'net_g', 1, 'params')


def test_average_falls_back_to_network(one, tmp_path: Path) -> None:
    net, loaded = nn.Linear(2, 2), nn.Linear(2, 2)
    one.save_network(net, 'net_g', 3)
    one.load_network(DataParallel(loaded), str(tmp_path / 'net_g_3.pth'), True, 'params_ema')
    assert torch.equal(loaded.weight, net.weight)


def test_root_of_the_file(one, tmp_path: Path) -> None:
    net, loaded = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save(net.state_dict(), tmp_path / 'bare.pth')
    one.load_network(loaded, str(tmp_path / 'bare.pth'), True, None)
    assert torch.equal(loaded.weight, net.weight)


def test_not_strict_loads_what_fits(one, tmp_path: Path) -> None:
    net = nn.Linear(2, 3)
    one.save_network(net, 'net_g', 3)
    loaded = nn.Sequential(nn.Linear(2, 3))
    loaded[0].weight = nn.Parameter(torch.zeros(5, 2))
    torch.save({'params': {f'0.{name}': value for name, value in net.state_dict().items()}}, tmp_path / 'part.pth')
    one.load_network(loaded, str(tmp_path / 'part.pth'), strict=False)
    assert torch.equal(loaded[0].bias, net.bias)
    assert loaded[0].weight.abs().sum() == 0


def test_error_names_the_options_of_the_discriminator(one, tmp_path: Path) -> None:
    one.net_g, one.net_d = nn.Linear(2, 2), DataParallel(nn.Linear(2, 3))
    one.save_network(one.net_g, 'net_g', 3)
    with pytest.raises(UserError, match=r'path:pretrain_network_d .* network_d, .* path:strict_load_d: false'):
        one.load_network(one.net_d, str(tmp_path / 'net_g_3.pth'))


def test_error_counts_the_keys_it_does_not_show(one, tmp_path: Path) -> None:
    one.save_network(nn.Sequential(*[nn.Linear(1, 1) for _ in range(3)]), 'net_g', 3)
    with pytest.raises(UserError, match=r'6 unknown to the network: 0\.weight, 0\.bias, 1\.weight, \.\.\.\n'):
        one.load_network(nn.Linear(1, 1), str(tmp_path / 'net_g_3.pth'))


def test_training_state_holds_what_basicsr_saves(one, tmp_path: Path) -> None:
    one.save_training_state(2, 7)
    state = load_checkpoint(tmp_path / '7.state')
    assert list(state) == ['epoch', 'iter', 'optimizers', 'schedulers']
    assert (state['epoch'], state['iter']) == (2, 7)
    one.optimizers[0].param_groups[0]['lr'] = 0.1
    one.resume_training(state)
    assert one.optimizers[0].param_groups[0]['lr'] == 0.5
    one.save_training_state(2, -1)  # the end of the training has no state
    assert [file.name for file in tmp_path.iterdir()] == ['7.state']


def test_extra_state_is_gathered_on_every_rank(one, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    one.extra_training_state = lambda: calls.append(1) or {'seen': len(calls)}
    monkeypatch.setattr('ext_core.compat.checkpoints.get_dist_info', lambda: (1, 2))
    one.save_training_state(0, 7)
    assert (calls, list(tmp_path.iterdir())) == ([1], [])
    monkeypatch.setattr('ext_core.compat.checkpoints.get_dist_info', lambda: (0, 2))
    one.save_training_state(0, 7)
    assert load_checkpoint(tmp_path / '7.state')['ext'] == {'seen': 2}
