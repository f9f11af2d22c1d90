"""Samples depend on (seed, epoch, position) only, and bad files are named."""

import logging
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ext_data.samples import NamedErrorDataset, SeededDataset, SeededSampler


class Draws(Dataset):
    """Each sample is what the three global generators give."""

    def __init__(self, size: int, bad: tuple[int, ...] = ()):
        self.size = size
        self.bad = bad
        self.paths = [{'gt_path': f'gt/{i}.png', 'lq_path': f'lq/{i}.png'} for i in range(size)]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        if index in self.bad:
            raise OSError('truncated')
        draws = [random.random(), np.random.random(), torch.rand(()).item()]  # noqa: NPY002
        return {'index': index, 'draws': torch.tensor(draws, dtype=torch.float64)}


def stream(workers: int, seed: int = 0, epochs: int = 2, start: int = 0) -> torch.Tensor:
    """All draws of some epochs."""
    sampler = SeededSampler(6, ratio=2, seed=seed)
    loader = DataLoader(SeededDataset(Draws(6), seed), batch_size=2, sampler=sampler, num_workers=workers)
    found = []
    for epoch in range(epochs):
        sampler.set_position(epoch, start)
        found += [batch['draws'] for batch in loader]
    return torch.cat(found)


def test_any_number_of_workers_draws_the_same():
    assert torch.equal(stream(0), stream(1))
    assert torch.equal(stream(0), stream(2))


def test_epochs_and_repeats_differ():
    draws = stream(0)
    for generator in draws.T:
        assert len(torch.unique(generator)) == len(draws) == 24


def order(seed: int, epoch: int) -> list[tuple[int, int]]:
    sampler = SeededSampler(10, seed=seed)
    sampler.set_position(epoch)
    return list(sampler)


def test_order_is_that_of_seed_and_epoch():
    assert order(0, 0) == order(0, 0)
    orders = [[position for _, position in order(seed, epoch)] for seed, epoch in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert all(sorted(positions) == list(range(10)) for positions in orders)
    assert len({tuple(positions) for positions in orders}) == 4


def test_draws_are_those_of_seed_epoch_and_position():
    """Each of the three generators alone, and each number alone."""
    at = {
        (seed, *key): SeededDataset(Draws(3), seed)[key]['draws'] for seed in (0, 1) for key in ((0, 1), (0, 2), (1, 1))
    }
    assert torch.equal(SeededDataset(Draws(3), 0)[0, 1]['draws'], at[0, 0, 1])
    for generator in torch.stack([*at.values()]).T:
        assert len(torch.unique(generator)) == len(at)


def test_continuing_inside_an_epoch_gives_the_rest():
    assert torch.equal(stream(0, epochs=1, start=4), stream(0, epochs=1)[4:])


def test_global_generators_are_left_alone():
    def draw(between) -> tuple:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        between()
        return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002

    data = SeededDataset(Draws(3), seed=5)
    assert draw(lambda: data[0, 1]) == draw(lambda: None)


def test_ranks_share_one_permutation_and_leave_nothing_out():
    whole = list(SeededSampler(10, seed=3))
    shares = [list(SeededSampler(10, num_replicas=2, rank=rank, seed=3)) for rank in (0, 1)]
    assert [key for pair in zip(*shares, strict=True) for key in pair] == whole
    assert sorted(position for _, position in whole) == list(range(10))
    shares = [list(SeededSampler(5, num_replicas=2, rank=rank)) for rank in (0, 1)]
    assert [len(share) for share in shares] == [3, 3]
    assert {position % 5 for share in shares for _, position in share} == set(range(5))


def test_bad_sample_is_replaced_named_and_counted_once_also_in_other_processes_and_after_a_resume(monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'warning', warnings.append)
    other = SeededDataset(Draws(8, bad=(0, 4, 6)), seed=0, max_bad_samples=2)
    assert other[0, 4]['index'] == other[1, 12]['index'] == 5
    assert other.bad == [4]
    assert len(warnings) == 1
    assert 'gt/4.png' in warnings[0]
    assert '1 of at most 2' in warnings[0]
    resumed = SeededDataset(Draws(8, bad=(0, 4, 6)), seed=0, max_bad_samples=2)
    resumed.expect_bad(other.bad)
    assert resumed[0, 4]['index'] == 5
    assert len(warnings) == 1  # it is known
    assert resumed[0, 0]['index'] == 1
    with pytest.raises(OSError, match='3 training samples'):
        resumed[0, 6]
    smaller = SeededDataset(Draws(8, bad=(0, 1)), seed=0, max_bad_samples=1)
    smaller.expect_bad([0, 1])
    with pytest.raises(OSError, match='2 training samples'):
        smaller[0, 0]


@pytest.mark.parametrize('workers', [0, 2])
def test_too_many_bad_samples_stop_the_run(workers):
    data = SeededDataset(Draws(8, bad=(0, 1, 2, 3)), seed=0, max_bad_samples=3)
    with pytest.raises(OSError, match=r'4 training samples.*max_bad_samples'):
        list(DataLoader(data, batch_size=1, sampler=SeededSampler(8), num_workers=workers))
    with pytest.raises(OSError, match='None of the training images'):
        SeededDataset(Draws(2, bad=(0, 1)), seed=0)[0, 0]


def test_a_repaired_sample_is_used_and_counted_no_more():
    data = SeededDataset(Draws(8, bad=(0, 6)), seed=0, max_bad_samples=2)
    data.expect_bad([0, 4, 99])  # the last is of a larger dataset
    assert data.bad == [0, 4]
    assert data[0, 4]['index'] == 4
    assert data.bad == [0]
    assert data[0, 6]['index'] == 7


def test_evaluation_errors_name_the_files():
    data = NamedErrorDataset(Draws(2, bad=(1,)))
    assert data[0]['index'] == 0
    assert data.size == 2
    with pytest.raises(OSError, match=r'gt/1\.png and lq/1\.png.*truncated'):
        data[1]
