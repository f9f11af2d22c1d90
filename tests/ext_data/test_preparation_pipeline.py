"""Many images: pairing, parallel and interrupted runs, LMDBs as BasicSR reads them."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset
from tqdm import tqdm

from ext_core.registration import register_all
from ext_data.preparation import lmdb_writer, pipeline
from ext_data.preparation.images import bicubic_down, write_png
from ext_data.preparation.layouts import LAYOUTS, Window, get_layout
from ext_data.preparation.pair_images import Plan, output_folders
from ext_data.preparation.pairs import collect_folders, collect_layout
from ext_data.preparation.pipeline import pack, prepare


def write_noise(folder, names, height=32, width=40):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
        write_png(folder / f'{name}.png', image)


def plan_in(folder, scale=4, window=None):
    return Plan(scale, *output_folders(folder, '', 'bicubic', scale, window), window)


def pairs_in(folder):
    return collect_folders(folder, None, '{name}', 4)


def pixels(folder):
    return {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in folder.iterdir()}


def paired_dataset(gt, lq, backend, scale=4):
    folders = {'dataroot_gt': str(gt), 'dataroot_lq': str(lq)}
    return PairedImageDataset({**folders, 'io_backend': {'type': backend}, 'scale': scale, 'phase': 'val'})


def assert_equal_pairs(one, other):
    for side in ('hr_folder', 'lr_folder'):
        a, b = (pixels(getattr(plan, side)) for plan in (one, other))
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_basicsr_reads_folder_and_lmdb_alike(tmp_path):
    write_noise(tmp_path / 'hr', ['b', 'a'], 34, 41)
    plan = plan_in(tmp_path / 'out', window=Window(16, 8))
    prepared = prepare(pairs_in(tmp_path / 'hr'), plan)
    gt_lmdb, lq_lmdb = pack(prepared, plan)
    assert sorted(path.name for path in gt_lmdb.iterdir()) == ['data.mdb', 'lock.mdb', 'meta_info.txt']
    assert (gt_lmdb / 'meta_info.txt').read_text().splitlines()[0] == 'a_s001.png (16,16,3) 1'
    assert (lq_lmdb / 'meta_info.txt').read_text().splitlines()[0] == 'a_s001.png (4,4,3) 1'
    folder = paired_dataset(plan.hr_folder, plan.lr_folder, 'disk')
    packed = paired_dataset(gt_lmdb, lq_lmdb, 'lmdb')
    by_name = {Path(sample['gt_path']).stem: sample for sample in (folder[i] for i in range(len(folder)))}
    assert len(folder) == len(packed) == 2 * 3 * 4
    for sample in (packed[i] for i in range(len(packed))):
        for part in ('gt', 'lq'):
            assert sample[part].equal(by_name[sample['gt_path']][part])
    first = cv2.imread(str(tmp_path / 'hr' / 'a.png'))[:32, :40]
    assert np.array_equal(pixels(plan.hr_folder)['a_s001.png'], first[:16, :16])
    assert np.array_equal(pixels(plan.lr_folder)['a_s001.png'], bicubic_down(first, 4)[:4, :4])
    assert prepared.notes() == {'HR cropped to a multiple of the scale': 2}


@pytest.mark.parametrize('part', ['image', 'ledger', 'LMDB'])
def test_full_disk_is_told_and_the_run_continued(tmp_path, monkeypatch, part):
    write_noise(tmp_path / 'hr', 'abc')
    pairs, plan = pairs_in(tmp_path / 'hr'), plan_in(tmp_path / 'out')
    full = OSError(28, 'No space left on device')
    with monkeypatch.context() as patch:
        if part == 'image':
            patch.setattr(Path, 'write_bytes', mock.Mock(side_effect=full))
        elif part == 'ledger':
            patch.setattr(Path, 'write_text', mock.Mock(side_effect=full))
        else:
            patch.setattr(lmdb_writer, 'map_size', lambda sizes: 4096)
        with pytest.raises(OSError, match=r'out/\S+ could not be written.*same command again'):
            pack(prepare(pairs, plan), plan)
    assert not list((tmp_path / 'out').rglob('*.part'))
    gt, lq = pack(prepare(pairs, plan), plan)
    assert len(paired_dataset(gt, lq, 'lmdb')) == 3


@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='needs fork to start quickly')
def test_killed_run_is_continued(tmp_path):
    write_noise(tmp_path / 'hr', [f'{i:02d}' for i in range(24)], 240, 320)
    pairs = pairs_in(tmp_path / 'hr')
    plan = plan_in(tmp_path / 'out')
    ledger = tmp_path / 'out' / '.prepared' / 'HR_x4.jsonl'
    tqdm.set_lock(threading.RLock())  # the default one is shared with a fork, which may hold it when it is killed
    process = multiprocessing.get_context('fork').Process(target=prepare, args=(pairs, plan))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not ledger.exists() or ledger.read_text().count('\n') < 4):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert all(image is not None for name, image in pixels(plan.hr_folder).items() if not name.startswith('.'))
    with ledger.open('a') as file:
        file.write('{"key": "05", "finger')  # a line that the crash cut short
    done = prepare(pairs, plan)
    assert 3 <= done.skipped < 24
    prepare(pairs, plan_in(tmp_path / 'fresh'))
    assert_equal_pairs(plan, plan_in(tmp_path / 'fresh'))


def test_finished_run_writes_nothing(tmp_path, monkeypatch):
    write_noise(tmp_path / 'hr', ['a', 'b'])
    pairs = pairs_in(tmp_path / 'hr')
    plan = plan_in(tmp_path / 'out')
    targets = pack(prepare(pairs, plan), plan)
    before = [target.stat().st_mtime_ns for target in targets]

    def explode(*args, **kwargs):
        raise AssertionError('nothing was left to do')

    monkeypatch.setattr(pipeline, 'make_pair', explode)
    monkeypatch.setattr(pipeline, 'write_lmdb', explode)
    again = prepare(pairs, plan)
    assert again.skipped == 2
    assert [target.stat().st_mtime_ns for target in pack(again, plan)] == before


def test_changed_and_removed_sources_are_followed(tmp_path):
    write_noise(tmp_path / 'hr', ['a', 'b'])
    plan = plan_in(tmp_path / 'out')
    pack(prepare(pairs_in(tmp_path / 'hr'), plan), plan)
    write_noise(tmp_path / 'hr', ['other', 'a'], 24, 24)
    (tmp_path / 'hr' / 'b.png').unlink()
    gt_lmdb, _ = pack(prepare(pairs_in(tmp_path / 'hr'), plan), plan)
    assert pixels(plan.hr_folder).keys() == pixels(plan.lr_folder).keys() == {'a.png', 'other.png'}
    assert (gt_lmdb / 'meta_info.txt').read_text() == 'a.png (24,24,3) 1\nother.png (24,24,3) 1\n'
    assert not [path for path in plan.hr_folder.parent.iterdir() if path.suffix in ('.part', '.old')]


def test_other_settings_are_refused(tmp_path):
    write_noise(tmp_path / 'hr', ['a'])
    pairs = pairs_in(tmp_path / 'hr')
    prepare(pairs, plan_in(tmp_path / 'out', window=Window(16, 8)))
    with pytest.raises(ValueError, match='other settings') as caught:
        prepare(pairs, plan_in(tmp_path / 'out', window=Window(16, 16)))
    plan = plan_in(tmp_path / 'out', window=Window(16, 8))
    remedy = str(caught.value).split('Remedy: ')[1]
    for folder in (plan.hr_folder, plan.lr_folder):
        assert f'{folder},' in remedy
        assert f'{folder}.lmdb' in remedy


def test_blur_is_a_standard_deviation_that_fits_the_image(tmp_path):
    write_noise(tmp_path / 'hr', ['a'], 32, 40)
    places = 4, tmp_path / 'out' / 'HR', tmp_path / 'out' / 'LR'
    for blur in (-1, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='--blur'):
            Plan(*places, blur=blur)
    with pytest.raises(ValueError, match=r'a\.png: smaller than 36 pixels'):
        prepare(pairs_in(tmp_path / 'hr'), Plan(*places, blur=9))


def test_parallel_equals_serial_and_all_unusable_images_are_named(tmp_path):
    write_noise(tmp_path / 'hr', [f'{i}' for i in range(9)])
    for name in ('1', '7'):
        data = (tmp_path / 'hr' / f'{name}.png').read_bytes()
        (tmp_path / 'hr' / f'{name}.png').write_bytes(data[:40])
    plans = [plan_in(tmp_path / name) for name in ('one', 'two')]
    for jobs, plan in enumerate(plans, 1):
        with pytest.raises(ValueError, match=r'(?s)2 of 9 pairs cannot be used.*/1\.png.*/7\.png') as error:
            prepare(pairs_in(tmp_path / 'hr'), plan, jobs, register_all)
        assert '2.png' not in str(error.value)
        assert len(pixels(plan.hr_folder)) == 7
    assert_equal_pairs(*plans)


def test_size_mismatch_is_named(tmp_path):
    write_noise(tmp_path / 'hr', ['fits', 'near', 'wrong'], 32, 40)
    write_noise(tmp_path / 'lr', ['fits'], 8, 10)
    write_noise(tmp_path / 'lr', ['near'], 8, 9)  # four columns less: not explained by cropping HR to a multiple of 4
    write_noise(tmp_path / 'lr', ['wrong'], 16, 20)
    with pytest.raises(ValueError, match='HR is not 4 x LR; correct --hr, --lr or --scale') as error:
        prepare(collect_folders(tmp_path / 'hr', tmp_path / 'lr', '{name}', 4), plan_in(tmp_path / 'out'))
    assert 'near.png is 40 x 32' in str(error.value)
    assert 'wrong.png is 20 x 16' in str(error.value)
    assert 'fits' not in str(error.value)


@pytest.mark.parametrize('at_hr_size', [False, True])
def test_hr_of_a_given_pair_is_cropped_and_lr_at_hr_size_reduced(tmp_path, at_hr_size):
    write_noise(tmp_path / 'hr', ['a'], 35, 41)
    write_noise(tmp_path / 'lr', ['a'], *((35, 41) if at_hr_size else (8, 10)))
    plan = Plan(4, tmp_path / 'out' / 'HR', tmp_path / 'out' / 'LR', lr_at_hr_size=at_hr_size)
    prepare(collect_folders(tmp_path / 'hr', tmp_path / 'lr', '{name}', 4), plan)
    given = pixels(tmp_path / 'lr')['a.png']
    expected = bicubic_down(given[:32, :40], 4) if at_hr_size else given
    assert np.array_equal(pixels(plan.lr_folder)['a.png'], expected)
    assert pixels(plan.hr_folder)['a.png'].shape == (32, 40, 3)


def test_names_must_match_and_the_hint_tells_the_suffix(tmp_path):
    write_noise(tmp_path / 'hr', ['a', 'b'])
    write_noise(tmp_path / 'lr', ['ax4', 'bx4'], 8, 10)
    with pytest.raises(ValueError, match=r"--lr-name '\{name\}x4'"):
        collect_folders(tmp_path / 'hr', tmp_path / 'lr', '{name}', 4)
    pairs = collect_folders(tmp_path / 'hr', tmp_path / 'lr', '{name}x4', 4)
    assert [(pair.key, pair.lr.name) for pair in pairs] == [('a', 'ax4.png'), ('b', 'bx4.png')]
    (tmp_path / 'lr' / 'bx4.png').unlink()
    with pytest.raises(ValueError, match=r'b\.png: no LR image'):
        collect_folders(tmp_path / 'hr', tmp_path / 'lr', '{name}x4', 4)


def test_keys_survive_basicsr(tmp_path):
    write_noise(tmp_path / 'hr', ['my photo.v2'])
    assert pairs_in(tmp_path / 'hr')[0].key == 'my_photo_v2'
    write_noise(tmp_path / 'hr', ['my_photo_v2'])
    with pytest.raises(ValueError, match=r'would both become my_photo_v2\.png'):
        pairs_in(tmp_path / 'hr')


def test_sources_are_never_overwritten(tmp_path):
    write_noise(tmp_path / 'HR_x4', ['a'])
    with pytest.raises(ValueError, match='holds the source images'):
        prepare(collect_folders(tmp_path / 'HR_x4', None, '{name}', 4), plan_in(tmp_path))


@pytest.mark.parametrize('layout', LAYOUTS.values(), ids=LAYOUTS)
def test_every_source_of_every_layout_is_found(tmp_path, layout):
    """Files written by the templates are paired, and both get the same name."""
    for split in layout.splits:
        for number, source in enumerate(split.sources):
            root = tmp_path / f'{split.name}{number}'
            name = str(split.numbers[0]).zfill(6) if split.numbers else '0801'
            for template in filter(None, source):
                path = root / f'{template.format(name=name, scale=4)}.PNG'
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            pairs = collect_layout(root, layout, 4)[split]
            assert [pair.key for pair in pairs] == [name]
            assert (pairs[0].lr is None) == (source[1] is None)


def test_number_range_divides_one_folder(tmp_path):
    write_noise(tmp_path / 'img_align_celeba', ['162770', '162771', 'cover'])
    found = collect_layout(tmp_path, get_layout('celeba'), 4)
    keys = {split.name: [pair.key for pair in pairs] for split, pairs in found.items()}
    assert keys == {'train': ['162770'], 'valid': ['162771']}


def test_captured_lr_is_not_replaced_by_bicubic(tmp_path):
    write_noise(tmp_path / 'City100_iPhoneX', ['001H'])
    with pytest.raises(ValueError, match='no captured LR'):
        collect_layout(tmp_path, get_layout('City100'), 4)
