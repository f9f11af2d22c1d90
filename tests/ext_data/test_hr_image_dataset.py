"""HR crops alone: the same crops as those of paired images, from a folder and from an LMDB."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from ext_data.preparation.lmdb_writer import Entry, write_lmdb

SCALE = 4


@pytest.fixture(scope='module')
def pool(tmp_path_factory):
    """Folders of three HR images and of their LR images, and an LMDB of the former."""
    root = tmp_path_factory.mktemp('pool')
    generator = np.random.default_rng(0)
    for name in ('gt', 'lq'):
        (root / name).mkdir()
    for number in range(3):
        for name, factor in (('gt', SCALE), ('lq', 1)):
            image = generator.integers(0, 256, (12 * factor, 16 * factor, 3), dtype=np.uint8)
            cv2.imwrite(str(root / name / f'{number}.png'), image)
    write_lmdb(root / 'gt.lmdb', [Entry(path, 48, 64) for path in sorted((root / 'gt').iterdir())])
    return root


def dataset(root, type='HRImageDataset', backend='disk', **extra):
    opt = {'name': 'x', 'type': type, 'phase': 'train', 'scale': SCALE, 'gt_size': 32, 'dataroot_gt': str(root)}
    opt |= {'io_backend': {'type': backend}, 'use_hflip': True, 'use_rot': True, **extra}
    return build_dataset(opt)


@pytest.mark.parametrize('backend', ['disk', 'lmdb'])
def test_crops_are_those_of_paired_images(pool, backend):
    pairs = dataset(pool / 'gt', 'PairedImageDataset', dataroot_lq=str(pool / 'lq'))
    alone = dataset(pool / ('gt.lmdb' if backend == 'lmdb' else 'gt'), backend=backend)
    assert len(alone) == 3
    order = {Path(pair['gt_path']).stem: index for index, pair in enumerate(pairs.paths)}  # as the folder lists them
    for index, path in enumerate(alone.paths):
        for seed in range(4):
            random.seed(seed)
            expected = pairs[order[Path(path).stem]]
            random.seed(seed)
            got = alone[index]
            assert set(got) == {'gt', 'gt_path', 'lq_path'}
            assert torch.equal(got['gt'], expected['gt'])


def test_odd_sizes_are_cut_and_what_does_not_serve_is_named(pool, tmp_path):
    with pytest.raises(FileNotFoundError, match='no images in'):
        dataset(tmp_path)
    with pytest.raises(ValueError, match='gt_size: 30 is no multiple of scale'):
        dataset(pool / 'gt', gt_size=30)
    image = np.random.default_rng(0).integers(0, 256, (35, 33, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    sample = dataset(tmp_path, use_hflip=False, use_rot=False)[0]
    expected = torch.from_numpy(image[:32, :32, ::-1].copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(sample['gt'], expected)
