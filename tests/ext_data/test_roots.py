"""Several folders or LMDBs with weights, subfolders, and pairs whose endings differ."""

import os
import random
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from ext_data.preparation.lmdb_writer import Entry, write_lmdb
from ext_data.roots import names_in, partners, repeated

SCALE = 4


@pytest.fixture
def pools(tmp_path, monkeypatch):
    """Pairs of three images in a, of one in b; HR in gt_*, LR in lq_*; LMDBs of the same."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for letter, count in (('a', 3), ('b', 1)):
        for side, factor in (('gt', SCALE), ('lq', 1)):
            Path(f'{side}_{letter}').mkdir()
            for number in range(count):
                image = generator.integers(0, 256, (8 * factor, 9 * factor, 3), dtype=np.uint8)
                cv2.imwrite(f'{side}_{letter}/{number}.png', image)
            files = sorted(Path(f'{side}_{letter}').iterdir())
            write_lmdb(Path(f'{side}_{letter}.lmdb'), [Entry(path, 8 * factor, 9 * factor) for path in files])


def section(type: str, end: str = '', **keys) -> dict:
    opt = {'name': 'x', 'type': type, 'phase': 'train', 'scale': SCALE, 'gt_size': 32, 'use_hflip': True}
    opt |= {'use_rot': True, 'io_backend': {'type': 'lmdb' if end else 'disk'}}
    return opt | {f'dataroot_{side}': [f'{side}_{letter}{end}' for letter in 'ab'] for side in ('gt', 'lq')} | keys


def drawn(dataset, index: int) -> dict:
    random.seed(index)
    return dataset[index]


@pytest.mark.parametrize('end', ['', '.lmdb'])
@pytest.mark.parametrize('phase', ['train', 'val'])
@pytest.mark.parametrize('more', [{}, {'color': 'y', 'mean': [0.4], 'std': [0.2]}], ids=['colour', 'luminance'])
def test_one_folder_is_basicsrs_dataset(pools, end, phase, more):
    one = {f'dataroot_{side}': f'{side}_a{end}' for side in ('gt', 'lq')} | more
    ours = build_dataset(section('ExtPairedImageDataset', end, phase=phase, **one))
    stock = build_dataset(section('PairedImageDataset', end, phase=phase, **one))
    order = {Path(pair['gt_path']).name: index for index, pair in enumerate(stock.paths)}  # as the folder lists them
    assert [Path(pair['gt_path']).name for pair in ours.paths] == sorted(order)
    for index, pair in enumerate(ours.paths):
        got, other = drawn(ours, index), order[Path(pair['gt_path']).name]
        random.seed(index)
        expected = stock[other]
        assert torch.equal(got['lq'], expected['lq'])
        assert torch.equal(got['gt'], expected['gt'])


@pytest.mark.parametrize('end', ['', '.lmdb'])
@pytest.mark.parametrize('name', ['ExtPairedImageDataset', 'HRImageDataset', 'MultiScaleImageDataset'])
def test_several_roots_are_drawn_by_their_weights(pools, end, name):
    """Also from LMDBs that have the same keys."""
    every = build_dataset(section(name, end))
    assert len(every) == 4
    weighted = build_dataset(section(name, end, dataroot_weights=[1, 3]))
    paths = [drawn(weighted, index)['gt_path'] for index in range(len(weighted))]
    ending = '' if end else '.png'
    assert Counter(paths) == {**{f'gt_a{end}/{n}{ending}': 1 for n in range(3)}, f'gt_b{end}/0{ending}': 9}
    own = build_dataset(section(name, end, dataroot_gt=f'gt_b{end}', dataroot_lq=f'lq_b{end}'))
    assert torch.equal(drawn(every, 3)['gt'], [random.seed(3), own[0]['gt']][1])


def test_shares_are_the_weights():
    groups = ['abcdefg', 'xy', 'z']
    for weights in ([1, 1, 1], [3, 1, 0.5], [0.01, 1, 2]):
        samples = repeated(groups, weights)
        shares = [sum(samples.count(one) for one in group) / len(samples) for group in groups]
        np.testing.assert_allclose(shares, np.array(weights) / sum(weights), atol=1 / len(samples))
        for group in groups:
            counts = [samples.count(one) for one in group]
            assert min(counts) >= 1
            assert max(counts) - min(counts) <= 1
    assert repeated(groups, None) == list('abcdefgxyz')
    with pytest.raises(ValueError, match='dataroot_weights must have a number above 0 for each of 3 folders'):
        repeated(groups, [1, 2])
    with pytest.raises(ValueError, match=r'more than 50,000,000 samples\. Raise the smallest'):
        repeated(groups, [1, 1, 1e-9])


def test_subfolders_and_other_endings(pools):
    Path('gt_a/more/.hidden').mkdir(parents=True)
    Path('lq_a/more').mkdir()
    for file in ('gt_a/.DS_Store', 'gt_a/more/.hidden/x.png'):
        Path(file).write_text('no image')
    os.symlink(Path('gt_a').resolve(), 'gt_a/more/back')
    cv2.imwrite('gt_a/more/9.webp', cv2.imread('gt_a/0.png'), [cv2.IMWRITE_WEBP_QUALITY, 101])
    cv2.imwrite('lq_a/more/9x4.bmp', cv2.imread('lq_a/0.png'))
    for number in range(3):
        os.rename(f'lq_a/{number}.png', f'lq_a/{number}x4.png')
    one = {'dataroot_gt': 'gt_a', 'dataroot_lq': 'lq_a', 'filename_tmpl': '{}x4', 'use_hflip': False, 'use_rot': False}
    assert names_in('gt_a', is_lmdb=False) == ['0.png', '1.png', '2.png']
    dataset = build_dataset(section('ExtPairedImageDataset', subfolders=True, **one))
    assert dataset.paths[-1] == {'gt_path': 'gt_a/more/9.webp', 'lq_path': 'lq_a/more/9x4.bmp'}
    assert len(dataset) == 4
    for index in (0, 3):
        random.seed(0)
        assert torch.equal(dataset[index]['lq'], [random.seed(0), dataset[0]['lq']][1])
    Path('meta.txt').write_text('more/9.webp (32,36,3)\n')
    chosen = build_dataset(section('ExtPairedImageDataset', subfolders=True, meta_info_file='meta.txt', **one))
    assert chosen.paths == dataset.paths[-1:]
    assert len(build_dataset(section('HRImageDataset', subfolders=True, dataroot_gt='gt_a'))) == 4


def test_refusals_name_the_remedy(pools):
    with pytest.raises(ValueError, match='dataroot_lq names 1 folders and dataroot_gt 2'):
        build_dataset(section('ExtPairedImageDataset', dataroot_lq='lq_a'))
    with pytest.raises(ValueError, match='meta_info_file lists the images of one folder'):
        build_dataset(section('ExtPairedImageDataset', meta_info_file='meta.txt'))
    with pytest.raises(ValueError, match=r'lq_b has no partner in lq_a|gt_a/1.png has no partner in lq_b, 1.png'):
        build_dataset(section('ExtPairedImageDataset', dataroot_lq=['lq_b', 'lq_a']))
    with pytest.raises(ValueError, match=r'x.jpg and x.png differ in their endings only'):
        partners(['x.png'], ['x.jpg', 'x.png'], '{}')
    Path('deep/inside').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r'no images in deep \(subfolders: true reads those in it\)'):
        build_dataset(section('HRImageDataset', dataroot_gt=['gt_a', 'deep']))
