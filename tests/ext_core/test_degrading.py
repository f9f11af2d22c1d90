"""Degradation networks in use: their reach, tiles without seams, levels, and the files they are loaded from."""

import pytest
import torch
from basicsr.archs import build_network
from finished_experiments import finished_experiment
from torch import nn

from ext_core.errors import UserError
from ext_core.use.evaluation import load_experiment
from ext_core.use.synthesis import reach_of
from ext_models.degrading import low_resolution
from ext_models.tiles import in_tiles


class AtLRSize(nn.Module):
    """A network that gets the bicubic LR image, with a reach of its own of 2 pixels."""

    INPUT = 'lq'

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(4, 3, 3, padding=1))

    def forward(self, x):
        return x + 0.1 * self.body(x)


def degradation_net(scale: int = 4, **arguments) -> nn.Module:
    torch.manual_seed(1)
    net = build_network({'type': 'DegradationNet', 'num_feat': 8, 'scale': scale, **arguments}).eval()
    nn.init.constant_(net.body[-1].bias, 0.5)  # into the middle of the range, where rounding shows any difference
    return net


def lr_size_net() -> nn.Module:
    torch.manual_seed(2)
    return AtLRSize().eval()


# HR pixels that an LR pixel n sees: 4n - 11 .. 4n + 11 at scale 4; bicubic kernels reach 2 LR pixels to either side
@pytest.mark.parametrize(
    ('net', 'scale', 'reach'),
    [(degradation_net(), 4, 3), (degradation_net(2), 2, 4), (degradation_net(3), 3, 3), (lr_size_net(), 4, 4)],
)
def test_reach(net, scale, reach):
    assert reach_of(net, scale) == reach


def test_unbounded_reach_is_refused():
    net = nn.Sequential(nn.InstanceNorm2d(3), nn.Conv2d(3, 3, 4, 4))
    with pytest.raises(UserError, match='Use --tile 0'):
        reach_of(net, 4)


@pytest.mark.parametrize(('net', 'scale'), [(degradation_net(), 4), (degradation_net(3), 3), (lr_size_net(), 4)])
@pytest.mark.parametrize('tile', [5, 16, 64])
def test_tiles_equal_the_whole(net, scale, tile):
    gt = torch.rand(1, 3, 37 * scale, 50 * scale, generator=torch.Generator().manual_seed(0))
    whole = low_resolution(net, gt, scale)
    assert whole.shape == (1, 3, 37, 50)
    for side, reach in ((tile, reach_of(net, scale)), (0, 0)):
        made = in_tiles(lambda piece: low_resolution(net, piece, scale), gt, side, reach, (scale, 1))
        assert torch.equal(made, whole)


def test_autocast_is_kept_out():
    net, gt = degradation_net(), torch.rand(1, 3, 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        inside = low_resolution(net, gt, 4)
    assert torch.equal(inside, low_resolution(net, gt, 4))


# ---------------------------------------------------------------------- files
@pytest.fixture
def experiment(tmp_path):
    """A finished stage 1 with EMA weights."""
    network = {'type': 'DegradationNet', 'num_feat': 8, 'scale': 4}
    plain, average = build_network(network), build_network(network)
    return finished_experiment(tmp_path / 'stage1', network, plain, average), average


def _weights(folder):
    return folder / 'models' / 'net_g_latest.pth'


def test_loads_the_averaged_weights(experiment):
    folder, net = experiment
    degrader = load_experiment(folder)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), degrader.net.parameters(), strict=True))
    assert degrader.scale == 4
    assert not degrader.net.training
    assert not any(parameter.requires_grad for parameter in degrader.net.parameters())


def test_unusable_files_are_named(experiment):
    folder, _ = experiment
    torch.save({'params': nn.Conv2d(3, 3, 1).state_dict()}, _weights(folder))
    with pytest.raises(UserError, match='holds weights for another network than this DegradationNet'):
        load_experiment(folder)
    (folder / 'stage1.yml').write_text('name: stage1\n')
    with pytest.raises(UserError, match='needs scale, a number, and network_g'):
        load_experiment(folder)
    _weights(folder).unlink()
    with pytest.raises(UserError, match=r'not a finished experiment: .* models/net_g_latest\.pth is missing'):
        load_experiment(folder)
