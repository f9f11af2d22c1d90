"""UnpairedImageDataset: what a sample holds, what it depends on, and what is refused before training."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.matlab_functions import imresize
from torch.utils.data import DataLoader
from unpaired_pools import HR, HR_NAMES, LR, LR_NAMES, coded, number_of, section

from ext_arch.resize import bicubic_downscale
from ext_data.samples import SeededDataset, SeededSampler


# ---------------------------------------------------------------------- samples
@pytest.mark.usefixtures('lmdbs')
@pytest.mark.parametrize('scale', [2, 4])
def test_training_sample(backend, scale):
    dataset = build_dataset(section(backend, scale=scale))
    assert len(dataset) == 3
    sample = dataset[1]
    assert sample['gt'].shape == (3, 16, 16)
    assert sample['lq'].shape == sample['real_lq'].shape == (3, 16 // scale, 16 // scale)
    assert {sample[key].dtype for key in ('gt', 'lq', 'real_lq')} == {torch.float32}
    path = 'hr.lmdb/{}' if backend == 'lmdb' else 'hr/{}.png'
    assert sample['gt_path'] == sample['lq_path'] == path.format('h1')
    assert number_of(sample['gt']) == 1
    assert Path(sample['real_lq_path']).stem == LR_NAMES[number_of(sample['real_lq'])]


@pytest.mark.usefixtures('folders')
def test_crops_are_contiguous_parts_in_rgb():
    sample = build_dataset(section(use_hflip=False, use_rot=False))[2]
    for image, (height, width) in ((sample['gt'], HR), (sample['real_lq'], LR)):
        columns, rows = (image[1:] * 255).round().int()
        assert torch.equal(rows, rows[:1, :1] + torch.arange(len(rows))[:, None].expand_as(rows).int())
        assert torch.equal(columns, columns[:1, :1] + torch.arange(len(rows)).expand_as(rows).int())
        assert rows.max() < height
        assert columns.max() < width


@pytest.mark.usefixtures('folders')
@pytest.mark.parametrize('scale', [2, 4])
def test_lq_is_matlab_bicubic_of_the_crop_and_equals_the_device_path(scale):
    """It may be left to the model."""
    sample = build_dataset(section(scale=scale))[0]
    assert torch.equal(sample['lq'], imresize(sample['gt'], 1 / scale))
    torch.testing.assert_close(bicubic_downscale(sample['gt'][None], scale)[0], sample['lq'], rtol=0, atol=1e-6)
    Path('list.txt').write_text('h2.png (28,34,3)\n\nh0.png (28,34,3)\n')  # the HR images to take
    for phase in ('train', 'val'):
        dataset = build_dataset(section(make_lq=False, phase=phase, meta_info_file='list.txt'))
        assert set(dataset[0]) == {'gt', 'real_lq', 'gt_path', 'lq_path', 'real_lq_path'}
        assert [dataset[index]['gt_path'] for index in range(2)] == ['hr/h0.png', 'hr/h2.png']


# ---------------------------------------------------------------------- validation
@pytest.mark.usefixtures('lmdbs')
def test_validation_goes_through_the_real_images(backend):
    dataset = build_dataset(section(backend, phase='val'))
    assert len(dataset) == len(LR_NAMES) == 4
    for index, sample in enumerate(dataset[i] for i in range(4)):
        assert Path(sample['real_lq_path']).stem == f'l{index}'
        assert Path(sample['gt_path']).stem == f'h{index % 3}'
        assert torch.equal(sample['real_lq'][0] * 255, torch.full(LR, float(index)))
        assert sample['gt'].shape == (3, 28, 32)
        assert sample['lq'].shape == (3, 7, 8)
        whole = torch.from_numpy(coded(HR, index % 3)[:28, :32].copy()).permute(2, 0, 1).flip(0) / 255
        torch.testing.assert_close(sample['gt'], whole)


# ---------------------------------------------------------------------- what the draws depend on
def drawn(dataset, epochs: int, workers: int = 0, seed: int = 0) -> dict[str, list]:
    """Samples of some epochs in the sampler's order, batched."""
    sampler = SeededSampler(len(dataset), seed=seed, ratio=4)
    loader = DataLoader(SeededDataset(dataset, seed), batch_size=3, sampler=sampler, num_workers=workers)
    found: dict[str, list] = {}
    for epoch in range(epochs):
        sampler.set_position(epoch)
        for batch in loader:
            for key, value in batch.items():
                found.setdefault(key, []).extend(value)
    return found


@pytest.mark.usefixtures('lmdbs')
def test_any_number_of_workers_draws_the_same(backend):
    alone = drawn(build_dataset(section(backend)), epochs=2)
    with_workers = drawn(build_dataset(section(backend)), epochs=2, workers=2)
    for key, values in alone.items():
        if isinstance(values[0], str):
            assert values == with_workers[key]
        else:
            assert torch.equal(torch.stack(values), torch.stack(with_workers[key]))
    other = drawn(build_dataset(section(backend)), epochs=2, seed=1)
    assert other['real_lq_path'] != alone['real_lq_path']


@pytest.mark.usefixtures('folders')
def test_every_hr_image_meets_every_real_one_equally_often():
    found = drawn(build_dataset(section()), epochs=50)  # 50 epochs of 4 x 3 samples: 50 of each of the 12 pairs
    pairs = list(zip(found['gt_path'], found['real_lq_path'], strict=True))
    counts = np.array([[pairs.count((f'hr/{h}.png', f'real/{real}.png')) for real in LR_NAMES] for h in HR_NAMES])
    assert counts.sum() == 600
    assert ((counts - 50) ** 2 / 50).sum() < 31.3  # chi-square, 11 degrees of freedom, 99.9 %


@pytest.mark.usefixtures('folders')
def test_crops_and_flips_of_the_two_images_are_independent():
    """The eight orientations of one image occur equally often whatever the other's is; likewise positions."""
    found = drawn(build_dataset(section()), epochs=60)

    def orientation(image: torch.Tensor) -> tuple[bool, bool, bool]:
        columns = image[1]
        transposed = bool(columns[0, 0] == columns[0, 1])
        return transposed, bool(image[1, 0, 0] > image[1, -1, -1]), bool(image[2, 0, 0] > image[2, -1, -1])

    pairs = list(zip(found['gt'], found['real_lq'], strict=True))
    both = [(orientation(gt), orientation(real)) for gt, real in pairs]
    values = sorted({gt for gt, _ in both})
    assert values == sorted({real for _, real in both})
    assert len(values) == 8
    counts = np.array([[both.count((gt, real)) for real in values] for gt in values])
    expected = len(both) / 64
    assert ((counts - expected) ** 2 / expected).sum() < 103.4  # 63 degrees of freedom, 99.9 %
    corners = np.array([[x[2].min().item(), y[2].min().item()] for x, y in pairs])
    assert abs(np.corrcoef(corners.T)[0, 1]) < 0.12  # 720 samples: 3.3 standard deviations around zero


@pytest.mark.usefixtures('folders')
def test_unreadable_real_image_is_reported_once_and_others_take_its_place(caplog):
    Path('real/l1.png').write_bytes(b'damaged')
    cv2.imwrite('real/l2.png', coded((3, 9), 2))  # smaller than the crop of 4
    dataset = build_dataset(section())
    logger = logging.getLogger('basicsr')  # does not propagate
    logger.addHandler(caplog.handler)
    found = drawn(dataset, epochs=10)
    logger.removeHandler(caplog.handler)
    assert {Path(path).stem for path in found['real_lq_path']} == {'l0', 'l3'}
    messages = [record.message for record in caplog.records if 'skipped' in record.message]
    assert len(messages) == 2
    assert any('real/l1.png' in text and 'does not decode' in text for text in messages)
    assert any('real/l2.png is 9 x 3' in text and 'gt_size' in text for text in messages)
    # a dataset that has not seen the failures draws the same
    assert drawn(build_dataset(section()), epochs=10)['real_lq_path'] == found['real_lq_path']


@pytest.mark.usefixtures('folders')
def test_unusable_images_name_themselves():
    cv2.imwrite('hr/h0.png', coded((15, 40), 0))
    with pytest.raises(ValueError, match=r'hr/h0\.png is 40 x 15 .* crop of 16'):
        build_dataset(section())[0]
    for name in LR_NAMES:
        Path(f'real/{name}.png').write_bytes(b'damaged')
    with pytest.raises(ValueError, match=r'dataroot_real_lq: 10 real LR images .* Check real'):
        build_dataset(section())[1]
