"""Optimizers by name, and learning rates of layers of their own."""

import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from ext_models import optimizers
from ext_models.optimizers import find_optimizer, optimizer_names, parameter_groups, where_to_get_more


def network():
    return nn.ModuleDict({'conv1': nn.Linear(2, 2), 'conv10': nn.Linear(2, 2), 'body': nn.Sequential(nn.Linear(2, 2))})


def rates(groups):
    return [(group['lr'], sorted(len(p.shape) for p in group['params'])) for group in groups]


@pytest.mark.parametrize('name', ['Optimizer', 'lr_scheduler', 'Adamm', None, 3])
def test_what_is_no_optimizer(name):
    assert find_optimizer(name) is None


def test_torchs_come_first_and_others_from_the_package(monkeypatch):
    assert find_optimizer('Adam') is torch.optim.Adam
    pytorch_optimizer = pytest.importorskip('pytorch_optimizer', reason='pytorch_optimizer is not installed')
    assert find_optimizer('SOAP') is pytorch_optimizer.SOAP
    assert where_to_get_more() == ''
    monkeypatch.setattr(optimizers.importlib.util, 'find_spec', lambda name: None)
    assert find_optimizer('SOAP') is None
    assert 'pip install -c constraints.txt pytorch_optimizer' in where_to_get_more()
    assert {'Adam', 'SGD'} <= set(optimizer_names())
    assert not {'Optimizer', 'lr_scheduler'} & set(optimizer_names())


def test_the_package_is_not_imported_for_torchs():
    code = (
        'import sys; from ext_models.optimizers import find_optimizer, optimizer_names\n'
        "find_optimizer('Adam'), optimizer_names(); sys.exit('pytorch_optimizer' in sys.modules)"
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_one_rate_is_a_list_of_parameters():
    net = network()
    net['conv1'].bias.requires_grad_(False)
    assert [p.shape for p in parameter_groups(net, 1e-3, None)] == [(2, 2), (2, 2), (2,), (2, 2), (2,)]


def test_layers_by_whole_names_of_which_the_longest_counts():
    groups = parameter_groups(network(), 0.5, {'conv1': 0.1})
    assert rates(groups) == [(0.5, [1, 1, 2, 2]), (0.05, [1, 2])]  # conv10 is another layer
    groups = parameter_groups(network(), 1.0, {'body': 0.5, 'body.0.bias': 0.0})
    assert rates(groups) == [(1.0, [1, 1, 2, 2]), (0.5, [2]), (0.0, [1])]
    net = nn.ModuleDict({'a': nn.Linear(1, 1, bias=False)})  # no layer is left over
    assert rates(parameter_groups(net, 1.0, {'a': 2})) == [(2.0, [2])]


@pytest.mark.parametrize(
    ('factors', 'message'),
    [
        ({'conv2': 0.1}, "lr_mult: the network has no trainable layer 'conv2'. It has conv1, conv10, body."),
        ({'conv1': -1}, "lr_mult:conv1 must be a number, 0 or more, but is '-1'."),
        ({'conv1': True}, "lr_mult:conv1 must be a number, 0 or more, but is 'True'."),
    ],
)
def test_refusals(factors, message):
    with pytest.raises(ValueError, match=f'^{re.escape(message)}$'):
        parameter_groups(network(), 1.0, factors)
