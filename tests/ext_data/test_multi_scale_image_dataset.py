"""Pairs made from HR images: equal to those of whole images and of BasicSR's dataset, at every scale and crop."""

import functools
import random
from collections import Counter
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils import bgr2ycbcr
from basicsr.utils.matlab_functions import imresize

from ext_data.preparation.lmdb_writer import Entry, write_lmdb

SIZES = [(61, 50), (52, 67), (49, 49)]  # (height, width), no multiples of all scales
PLAIN = {'use_hflip': False, 'use_rot': False}


@pytest.fixture(scope='module')
def pool(tmp_path_factory):
    """A folder of noise images, the hardest for a filter, and an LMDB of them."""
    root = tmp_path_factory.mktemp('pool')
    (root / 'gt').mkdir()
    generator = np.random.default_rng(0)
    entries = []
    for number, (height, width) in enumerate(SIZES):
        path = root / 'gt' / f'{number}.png'
        cv2.imwrite(str(path), generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        entries.append(Entry(path, height, width))
    write_lmdb(root / 'gt.lmdb', entries)
    return root


def section(root, **extra) -> dict:
    opt = {'name': 'x', 'type': 'MultiScaleImageDataset', 'phase': 'train', 'scale': 4, 'dataroot_gt': str(root)}
    return opt | {'io_backend': {'type': 'disk'}, 'scales': [2, 3, 4], 'gt_size': 21, **extra}


def dataset(pool, **extra):
    return build_dataset(section(pool / 'gt', **extra))


def draw(data, index: int, seed: int) -> dict:
    random.seed(seed)
    return data[index]


def image(pool, index: int) -> np.ndarray:
    return cv2.imread(str(pool / 'gt' / f'{index}.png'))


def rgb(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array[..., ::-1], dtype=np.float32)).permute(2, 0, 1)


@functools.cache
def whole_pair(pool: Path, index: int, scale: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """gt, enlarged lq and lq of a whole image, by BasicSR's imresize."""
    bgr = image(pool, index)
    height, width = (side - side % scale for side in bgr.shape[:2])
    gt = bgr[:height, :width].astype(np.float32) / 255
    lr = (imresize(gt, 1 / scale).clip(0, 1) * 255).round().astype(np.float32) / 255
    return rgb(gt), rgb(imresize(lr, scale)), rgb(lr)


def find(crop: torch.Tensor, picture: torch.Tensor) -> tuple[int, int] | None:
    """Where a crop is from: its row and column in the picture."""
    _, height, width = crop.shape
    corners = (picture == crop[:, :1, :1]).all(0).nonzero().tolist()
    places = ((y, x) for y, x in corners if torch.equal(picture[:, y : y + height, x : x + width], crop))
    return next(places, None)


def scale_of(lq: torch.Tensor, pool: Path, index: int, gt: torch.Tensor) -> tuple[int, tuple[int, int]] | None:
    """The scale whose whole image has the crop, and where."""
    for scale in (2, 3, 4):
        picture, enlarged, _ = whole_pair(pool, index, scale)
        place = find(gt, picture)
        if place:
            part = enlarged[:, place[0] : place[0] + lq.shape[1], place[1] : place[1] + lq.shape[2]]
            if (part - lq).abs().max() < 3e-5:
                return scale, place
    return None


def test_crops_are_those_of_whole_images_at_drawn_scales(pool):
    data = dataset(pool, **PLAIN)
    scales, places = Counter(), set()
    for seed in range(60):
        sample = draw(data, seed % 3, seed)
        assert sample['gt'].shape == sample['lq'].shape == (3, 21, 21)
        found = scale_of(sample['lq'], pool, seed % 3, sample['gt'])
        assert found is not None, seed
        scales[found[0]] += 1
        places.add(found[1])
        assert sample['gt_path'] == sample['lq_path'] == str(pool / 'gt' / f'{seed % 3}.png')
    assert set(scales) == {2, 3, 4}
    assert min(scales.values()) >= 10
    assert len({top % 2 for top, _ in places}) == 2  # crops begin anywhere


def orientations(picture: torch.Tensor) -> list[torch.Tensor]:
    turned = [torch.rot90(picture, number, (1, 2)) for number in range(4)]
    return [*turned, *(one.flip(2) for one in turned)]


def test_flips_and_rotations_move_both_images_alike(pool):
    data, seen, whole = dataset(pool), set(), rgb(image(pool, 0).astype(np.float32) / 255)
    for seed in range(40):
        sample = draw(data, 0, seed)
        gts, lqs = orientations(sample['gt']), orientations(sample['lq'])
        (found,) = (number for number, gt in enumerate(gts) if find(gt, whole))
        if found not in seen:
            assert scale_of(lqs[found], pool, 0, gts[found])
        seen.add(found)
    assert len(seen) == 8


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_lq_at_lr_size_is_that_of_basicsrs_pairs(pool, tmp_path, scale):
    """PairedImageDataset on LR files made by imresize gives the same tensors from the same place."""
    for name in ('gt', 'lq'):
        (tmp_path / name).mkdir()
    for index in range(3):
        gt, _, lr = whole_pair(pool, index, scale)
        for name, picture in (('gt', gt), ('lq', lr)):
            array = (255 * picture.permute(1, 2, 0).numpy()[..., ::-1]).round().astype(np.uint8)
            cv2.imwrite(str(tmp_path / name / f'{index}.png'), array)
    common = {'scale': scale, 'gt_size': 12 * scale, **PLAIN}
    data = dataset(pool, scales=[scale], enlarge_lq=False, **common)
    pairs = build_dataset(
        section(tmp_path / 'gt', dataroot_lq=str(tmp_path / 'lq'), **common) | {'type': 'PairedImageDataset'}
    )
    for index in range(3):
        got = draw(data, index, index)
        top, left = find(got['gt'], whole_pair(pool, index, scale)[0])
        with mock.patch('random.randint', side_effect=[top // scale, left // scale]):
            expected = pairs[[Path(pair['gt_path']).stem for pair in pairs.paths].index(str(index))]
        assert got['lq'].shape == (3, 12, 12)
        for key in ('gt', 'lq'):
            torch.testing.assert_close(got[key], expected[key], rtol=0, atol=1e-6)


def test_luminance_is_that_of_the_colour_pair(pool):
    colour, luminance = dataset(pool), dataset(pool, color='y')
    for seed in range(6):
        expected, got = draw(colour, seed % 3, seed), draw(luminance, seed % 3, seed)
        for key in ('gt', 'lq'):
            assert got[key].shape == (1, 21, 21)
            bgr = np.ascontiguousarray(expected[key].permute(1, 2, 0).numpy()[..., ::-1])
            np.testing.assert_allclose(got[key][0].numpy(), bgr2ycbcr(bgr, y_only=True), rtol=0, atol=1e-5)


def test_lmdb_and_cache_give_what_the_folder_gives(pool):
    options = {'augment_scales': [0.9, 0.6], 'color': 'y'}
    disk, cached = dataset(pool, **options), dataset(pool, cache=True, **options)
    lmdb = build_dataset(section(pool / 'gt.lmdb', io_backend={'type': 'lmdb'}, **options))
    with mock.patch.object(cached, 'read', wraps=cached.read) as read:
        for seed in range(40):
            expected = draw(disk, seed % 3, seed)
            for other in (cached, lmdb):
                got = draw(other, seed % 3, seed)
                assert torch.equal(got['gt'], expected['gt'])
                assert torch.equal(got['lq'], expected['lq'])
    assert read.call_count <= 3 * 3  # each image, whole and at each reduction


def test_augmentation_draws_each_reduction_and_the_image_itself(pool):
    data = dataset(pool, scales=[2], augment_scales=[0.9, 0.8, 0.7, 0.6], **PLAIN)
    picture = image(pool, 0).astype(np.float32) / 255
    pictures = {1.0: rgb(picture)}
    for factor in (0.9, 0.8, 0.7, 0.6):
        pictures[factor] = rgb((imresize(picture, factor).clip(0, 1) * 255).round().astype(np.float32) / 255)
    drawn = Counter()
    for seed in range(80):
        sample = draw(data, 0, seed)
        (factor,) = (factor for factor, reduced in pictures.items() if find(sample['gt'], reduced))
        drawn[factor] += 1
    assert set(drawn) == set(pictures)
    assert min(drawn.values()) >= 6
    large = dataset(pool, scales=[2], gt_size=40, augment_scales=[0.6], **PLAIN)  # too small after the reduction
    assert all(find(draw(large, 0, seed)['gt'], pictures[1.0]) for seed in range(10))


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_validation_gives_whole_images(pool, scale):
    whole = {'phase': 'val', 'scale': scale, 'scales': None if scale == 4 else [scale]}  # by default those of the file
    data, small = dataset(pool, gt_size=None, **whole), dataset(pool, enlarge_lq=False, **whole)
    for index in range(3):
        gt, enlarged, lr = whole_pair(pool, index, scale)
        sample = data[index]
        assert torch.equal(sample['gt'], gt)
        torch.testing.assert_close(sample['lq'], enlarged, rtol=0, atol=3e-5)
        torch.testing.assert_close(small[index]['lq'], lr, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ('wrong', 'words'),
    [
        ({'scales': 4}, 'scales must be a list of whole numbers'),
        ({'scales': [2, 2.5]}, 'scales must be a list of whole numbers of at least 2'),
        ({'enlarge_lq': False}, 'scales must be one scale with enlarge_lq: false'),
        ({'phase': 'val'}, 'scales must be one scale in validation'),
        ({'augment_scales': [1.1]}, 'augment_scales must be a list of factors above 0 and at most 1'),
        ({'augment_scales': 0.9}, 'augment_scales must be a list'),
        ({'color': 'grey'}, "color must be 'rgb' or 'y', but is 'grey'"),
        ({'gt_size': None}, 'gt_size must be the side of the crops'),
        ({'gt_size': 7}, r'at least twice the scale \(4\), but is 7'),
        ({'scales': [4], 'enlarge_lq': False}, r'gt_size: 21 is no multiple of the scale \(4\)'),
    ],
)
def test_refuses(pool, wrong, words):
    with pytest.raises(ValueError, match=words):
        dataset(pool, **wrong)


def test_files_that_do_not_serve_are_named(pool, tmp_path):
    with pytest.raises(ValueError, match=r'0\.png is 50 x 60 .* smaller than the crop of 52'):
        draw(dataset(pool, gt_size=52, scales=[2]), 0, 0)
    with pytest.raises(FileNotFoundError, match='dataroot_gt: no images in'):
        build_dataset(section(tmp_path))
