"""Buffers are found without a walk, and none that appears later is missed."""

import pytest
import torch
from torch import nn

from ext_core.saving.buffers import BufferFinder


@pytest.fixture
def finder():
    found = BufferFinder()
    yield found
    found.close()


def names(finder, net):
    buffers = finder.of([net])
    return [name for name, buffer in net.named_buffers() for found in buffers if found is buffer]


def test_finds_all_buffers_and_no_parameter(finder):
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.BatchNorm2d(3)))
    assert len(finder.of([net])) == 3
    assert names(finder, net) == ['1.0.running_mean', '1.0.running_var', '1.0.num_batches_tracked']
    assert finder.of([nn.Conv2d(3, 3, 1)]) == []
    assert len(finder.of([net, nn.BatchNorm1d(2)])) == 6


@pytest.mark.parametrize(
    'change',
    [
        lambda net: net.append(nn.BatchNorm2d(2)),
        lambda net: net[0].register_buffer('late', torch.ones(1)),
        lambda net: setattr(net[1], 'running_mean', torch.ones(3)),
        lambda net: net.__setitem__(0, nn.InstanceNorm2d(3, track_running_stats=True)),
        lambda net: nn.utils.parametrizations.spectral_norm(net[0]),
    ],
)
def test_what_appears_later_is_found(finder, change):
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    finder.of([net])
    change(net)
    assert names(finder, net) == [name for name, _ in net.named_buffers()]


def test_a_state_of_its_own_is_told(finder):
    class Own(nn.Module):
        def get_extra_state(self):
            return {}

    assert finder.of([nn.Sequential(Own())]) is None


def test_closed_it_leaves_no_hooks():
    hooks = nn.modules.module._global_buffer_registration_hooks, nn.modules.module._global_module_registration_hooks
    before = [len(registered) for registered in hooks]
    found = BufferFinder()
    assert [len(registered) for registered in hooks] == [number + 1 for number in before]
    found.close()
    assert [len(registered) for registered in hooks] == before
