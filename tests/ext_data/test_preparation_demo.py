"""The demo set: there, small, whole, and the same however often and from wherever it is made."""

import importlib.util
import multiprocessing

import cv2
import numpy as np
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset

from ext_data.preparation.demo import camera_down, ensure_demo_data
from ext_data.preparation.images import bicubic_down


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    pytest.importorskip('skimage', reason='the demo photographs come with scikit-image')
    return ensure_demo_data(tmp_path_factory.mktemp('root'))


def test_training_part_is_read_by_basicsr(demo):
    folders = {'dataroot_gt': str(demo / 'train' / 'gt.lmdb'), 'dataroot_lq': str(demo / 'train' / 'lq_x4.lmdb')}
    dataset = PairedImageDataset({**folders, 'io_backend': {'type': 'lmdb'}, 'scale': 4, 'phase': 'val'})
    assert 24 <= len(dataset) <= 100
    for sample in (dataset[i] for i in range(len(dataset))):
        assert sample['gt'].shape == (3, 192, 192)
        assert sample['lq'].shape == (3, 48, 48)


def test_validation_part_is_large_enough_for_niqe_and_held_out(demo):
    files = sorted(path.name for path in (demo / 'val' / 'gt').iterdir())
    assert files == sorted(path.name for path in (demo / 'val' / 'lq_x4').iterdir())
    assert 2 <= len(files) <= 3
    trained_on = (demo / 'train' / 'gt.lmdb' / 'meta_info.txt').read_text()
    for name in files:
        gt, lq = (cv2.imread(str(demo / 'val' / part / name)) for part in ('gt', 'lq_x4'))
        assert min(gt.shape[:2]) >= 200
        assert max(gt.shape[:2]) <= 320
        assert np.array_equal(lq, bicubic_down(gt, 4))
        assert name.removesuffix('.png') not in trained_on


def test_real_images_are_blurred_and_noisy(demo):
    """Against LR of the same scene: what bicubic leaves at the highest frequencies is gone, noise has come."""
    for name in ('chelsea.png', 'coffee.png'):
        bicubic, real = (cv2.imread(str(demo / 'val' / part / name)).mean(axis=2) for part in ('lq_x4', 'real_x4'))
        assert real.shape == bicubic.shape
        assert abs(real.mean() - bicubic.mean()) < 0.5
        assert np.abs(np.diff(real)).mean() < 0.8 * np.abs(np.diff(bicubic)).mean()
    hr = np.full((96, 96, 3), 128, np.uint8)
    assert camera_down(hr, 4).std() == pytest.approx(2.0, rel=0.1)
    assert np.array_equal(camera_down(hr, 4), camera_down(hr, 4))


def test_second_call_touches_nothing_and_other_scales_are_added(demo):
    data = demo / 'train' / 'gt.lmdb' / 'data.mdb'
    before = data.stat().st_mtime_ns
    assert ensure_demo_data(demo.parents[1]) == demo
    ensure_demo_data(demo.parents[1], 3)
    assert data.stat().st_mtime_ns == before
    names = {'gt.lmdb', 'lq_x3.lmdb', 'lq_x4.lmdb', 'real_x3.lmdb', 'real_x4.lmdb'}
    assert {path.name for path in (demo / 'train').iterdir()} == names
    assert sorted(path.name for path in demo.parent.iterdir()) == ['demo']
    assert cv2.imread(str(demo / 'val' / 'lq_x3' / 'chelsea.png')).shape == (96, 96, 3)


@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='needs fork to start quickly')
def test_two_processes_at_once(demo, tmp_path):
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=ensure_demo_data, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    made = {path.relative_to(tmp_path / 'datasets') for path in (tmp_path / 'datasets').rglob('*')}
    assert made == {path.relative_to(demo.parent) for path in demo.parent.rglob('*') if 'x3' not in str(path)} | {
        demo.relative_to(demo.parent)
    }
    listing = 'train/gt.lmdb/meta_info.txt'
    assert (tmp_path / 'datasets' / 'demo' / listing).read_text() == (demo / listing).read_text()


def test_missing_scikit_image_and_unknown_scale_are_user_errors(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='not 8'):
        ensure_demo_data(tmp_path, 8)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(OSError, match='pip install scikit-image'):
        ensure_demo_data(tmp_path)
    assert list(tmp_path.iterdir()) == []
