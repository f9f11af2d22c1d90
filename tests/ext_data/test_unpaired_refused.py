"""UnpairedImageDataset: what is refused, by the dataset itself and by the option check before training."""

from pathlib import Path

import cv2
import pytest
from basicsr.data import build_dataset
from unpaired_pools import coded, problems, section, write_lmdb


# ---------------------------------------------------------------------- refused at construction
@pytest.mark.usefixtures('lmdbs')
@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'gt_size': 18}, r'gt_size: 18 is no multiple of scale \(4\)'),
        ({'gt_size': None}, 'gt_size: None'),
        ({'dataroot_real_lq': 'nowhere'}, 'dataroot_real_lq: the .* nowhere cannot be listed'),
        ({'dataroot_gt': 'nowhere', 'phase': 'val'}, 'dataroot_gt: the .* nowhere cannot be listed'),
    ],
)
def test_refused_at_construction(backend, changes, words):
    with pytest.raises(ValueError, match=words):
        build_dataset(section(backend, **changes))


# ---------------------------------------------------------------------- refused by the option check
@pytest.mark.usefixtures('lmdbs')
def test_good_sections_have_no_problem(backend):
    train = section(backend, make_lq=False, use_hflip=True, use_rot=False, prefetch_mode='cpu', pin_memory=True)
    assert problems(train, val=section(backend, phase='val')) == []


@pytest.mark.usefixtures('lmdbs')
def test_small_images_are_found_before_training(backend):
    cv2.imwrite('hr/h1.png', coded((15, 40), 1))
    cv2.imwrite('real/l2.png', coded((3, 9), 2))
    for folder in ('hr', 'real'):
        write_lmdb(folder)
    small_hr, small_real = problems(section(backend))
    hr, real = ('h1 in hr.lmdb', 'l2 in real.lmdb') if backend == 'lmdb' else ('hr/h1.png', 'real/l2.png')
    assert small_hr.startswith(f'datasets:train:gt_size: crops of 16 do not fit into {hr}, which is 40 x 15. Lower')
    assert small_real.startswith(f'datasets:train:gt_size: crops of 4 do not fit into {real}, which is 9 x 3. Lower')
    assert 'gt_size to at most 12' in small_real


@pytest.mark.usefixtures('lmdbs')
@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'gt_size': None}, 'datasets:train:gt_size is missing: UnpairedImageDataset needs it'),
        ({'dataroot_real_lq': None}, 'datasets:train:dataroot_real_lq is missing: UnpairedImageDataset needs it'),
        ({'dataroot_real_lq': 'rael'}, "datasets:train:dataroot_real_lq: folder not found: rael. Did you mean 'real"),
        ({'dataroot_real_lq': 'real.lmdb'}, 'dataroot_real_lq: real.lmdb is an LMDB. Set io_backend:type: lmdb'),
        ({'io_backend': {'type': 'lmdb'}}, 'dataroot_gt: hr is a folder of images, not an LMDB'),
        ({'dataroot_gt': 'empty'}, 'datasets:train:dataroot_gt: no images in empty'),
        ({'dataroot_real_lq': 'empty', 'meta_info_file': 'list'}, 'dataroot_real_lq: no images in empty'),
        ({'make_lr': False}, "make_lr: unknown key; UnpairedImageDataset would ignore it. Did you mean 'make_lq'"),
        ({'meta_info_file': 'nowhere.txt'}, 'datasets:train:meta_info_file: file not found: nowhere.txt'),
        ({'meta_info_file': 'wrong'}, 'meta_info_file lists files that do not exist: hr/h7.png. Remove the key'),
    ],
)
def test_refused_by_the_option_check(changes, words):
    Path('empty').mkdir()
    for name, lines in (('list', 'h0.png (1,1,3)\n' * 3), ('wrong', 'h7.png\n')):
        Path(name).write_text(lines)
    found = problems(section(**changes))
    assert any(words in problem for problem in found), found


@pytest.mark.usefixtures('folders')
def test_damaged_validation_images_are_found_before_training():
    Path('real/l1.png').write_bytes(b'damaged')
    (problem,) = problems(section(), val=section(phase='val'))
    assert 'datasets:val: real/l1.png cannot be read' in problem
    assert 'Replace or delete the file' in problem
