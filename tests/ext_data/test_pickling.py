"""Spawned workers get every dataset by pickle, and read from it what the process that made it would read."""

import pickle
import random

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.registry import DATASET_REGISTRY
from unpaired_pools import section

from ext_data.samples import NamedErrorDataset

OURS = [name for name, kind in DATASET_REGISTRY if kind.__module__.startswith('ext_')]


def sample(dataset) -> dict:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    return dataset[1]


@pytest.mark.parametrize('name', [*OURS, 'PairedImageDataset', 'SingleImageDataset'])
def test_dataset(lmdbs, backend, name):
    opt = section(backend, type=name, gt_size=8, use_hflip=True, use_rot=True)
    opt['dataroot_lq'] = opt['dataroot_gt']
    if name.endswith('PairedImageDataset'):
        opt['scale'] = 1
    for wrapped in (False, True):
        dataset = build_dataset(opt)
        dataset = NamedErrorDataset(dataset) if wrapped else dataset
        other = pickle.loads(pickle.dumps(dataset))
        mine, its = sample(dataset), sample(other)
        assert mine.keys() == its.keys()
        for key, value in mine.items():
            assert torch.equal(value, its[key]) if torch.is_tensor(value) else value == its[key]
