"""Snapshots keep what was, in containers of the same kind."""

from collections import Counter, OrderedDict

import pytest
import torch
from torch import nn

from ext_core.saving.snapshots import Snapshots, frozen, rebuilt


def snapshot(snapshots: Snapshots, value):
    snapshots.begin()
    taken = snapshots.take(value)
    snapshots.fetch()
    return taken


def test_containers_keep_their_kind():
    weights = nn.BatchNorm2d(2).state_dict()
    value = {'w': weights, 'tuple': (1, [2.5, 'x'], None), 'milestones': Counter({3: 2}), 'set': {1, 2}}
    copied = snapshot(Snapshots(), value)
    assert type(copied['w']) is OrderedDict
    assert copied['w']._metadata == weights._metadata
    assert type(copied['milestones']) is Counter
    for key in ('tuple', 'milestones', 'set'):
        assert copied[key] == value[key]
    value['tuple'][1].append(3)
    value['set'].add(3)
    assert copied['tuple'] == (1, [2.5, 'x'], None)
    assert copied['set'] == {1, 2}


@pytest.mark.parametrize(
    'tensor',
    [
        torch.arange(6).reshape(2, 3),
        torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.rand(4, 6)[1:3, ::2],
        torch.zeros(0, 3),
        torch.tensor(2.5, dtype=torch.float64),
        torch.tensor([True, False]),
        torch.ones(3).expand(2, 3),
        torch.eye(3).to_sparse(),
    ],
    ids=['int', 'channels_last', 'strided', 'empty', 'scalar', 'bool', 'expanded', 'sparse'],
)
def test_tensors_of_all_kinds_are_kept(tensor):
    before = tensor.clone()
    copied = snapshot(Snapshots(), [tensor])[0]
    if tensor.layout is torch.strided and tensor.numel():
        tensor.untyped_storage().fill_(0)
        assert copied.untyped_storage().nbytes() == before.numel() * before.element_size()
    assert copied.dtype == before.dtype
    assert torch.equal(copied.to_dense(), before.to_dense())


def test_channels_last_stays(tmp_path):
    tensor = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert snapshot(Snapshots(), tensor).stride() == tensor.stride()


def test_parameters_become_plain_tensors():
    parameter = nn.Parameter(torch.ones(2))
    copied = snapshot(Snapshots(), {'p': parameter})['p']
    assert (type(copied), copied.requires_grad) == (torch.Tensor, False)


def test_tied_weights_stay_tied_and_memory_is_used_again():
    one, snapshots = torch.ones(1000), Snapshots()
    first = snapshot(snapshots, {'a': one.detach(), 'b': one.detach(), 'other': torch.ones(1000)})
    assert first['a'] is first['b']
    assert first['a'] is not first['other']
    memory = first['a'].data_ptr()
    one.add_(1)
    second = snapshot(snapshots, {'a': one})['a']
    assert second.data_ptr() == memory
    assert second.unique().tolist() == [2]


def test_what_was_taken_first_counts():
    """Running statistics are taken before the rest, and change in between."""
    statistics, snapshots = torch.zeros(3), Snapshots()
    snapshots.begin()
    snapshots.take([statistics])
    statistics.add_(1)
    taken = snapshots.take({'w': torch.ones(2), 'statistics': statistics})
    snapshots.fetch()
    assert taken['statistics'].tolist() == [0, 0, 0]
    assert snapshot(snapshots, statistics).tolist() == [1, 1, 1]


def test_frozen_and_rebuilt():
    tensor = torch.zeros(2, requires_grad=True)
    held = {'a': [tensor * 1]}
    copied = frozen(held)
    with torch.no_grad():
        held['a'][0].add_(1)
    assert copied['a'][0].tolist() == [0, 0]
    assert rebuilt(held, lambda value: 'leaf') == {'a': ['leaf']}
