"""Every reader takes the same pixels out of the same file, or refuses it with the same reason."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import hostile_images
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataset
from hostile_images import BAD, FILES, GOOD, Hostile, by_opencv, encoded, picture

from ext_core.errors import UserError
from ext_core.options import datasets
from ext_core.options import image_files as images
from ext_core.use import evaluation
from ext_core.use.hr_sources import Picture, read_picture
from ext_data import decoding
from ext_data.decoding import ImageError, decode
from ext_data.preparation.images import read_image
from ext_data.samples import SeededDataset


def names(file: Hostile) -> str:
    return file.name.replace('\n', '-')


def reference(file: Hostile) -> np.ndarray:
    return decode(file.content, file.name)


# ---------------------------------------------------------------------- what a file means
@pytest.mark.parametrize('file', GOOD, ids=names)
def test_pixels(file):
    image = reference(file)
    assert (image.dtype, image.shape) == (np.uint8, (*file.size[::-1], 3))
    if file.size != (hostile_images.SIDE, hostile_images.SIDE) or file.name == 'bits.png':
        return
    expected = picture().astype(float)
    if 'grey' in file.name and file.name != 'deep_grey.png':
        expected[:] = (expected @ (0.299, 0.587, 0.114))[..., None]
    elif file.name == 'deep_grey.png':
        expected[:] = expected[..., 1:2]
    difference = np.abs(image[..., ::-1] - expected)
    lossless = file.name in ('colour.png', 'alpha.png', 'deep.png', 'deep.tiff', 'deep_grey.png', 'still.webp')
    assert difference.max() == 0 if lossless else difference.mean() < 12


@pytest.mark.parametrize('file', BAD, ids=names)
def test_refusal_names_the_file_and_the_reason(file):
    with pytest.raises(ImageError, match=f'^{file.name} ') as caught:
        reference(file)
    assert file.refusal in str(caught.value)


def test_sixteen_bits_are_rounded_not_cut():
    image = np.array([[[65535, 257 * 100 + 128, 257 * 100 + 129]] * 2], np.uint16)
    assert decode(by_opencv('.png', image))[0, 0].tolist() == [255, 100, 101]


def test_exif_turns_clockwise():
    image = decode(encoded('PNG', image=picture(32, 16), **hostile_images.turned()))
    assert np.array_equal(image[..., ::-1], np.rot90(picture(32, 16), -1))


@pytest.mark.parametrize('file', FILES, ids=names)
def test_header_agrees_with_the_decoder(file, tmp_path):
    path = tmp_path / file.name
    path.write_bytes(file.content)
    size, reason = images.look(path)
    if file.size:
        assert (size, reason) == (file.size, None)
        assert images.damage(path) is None
    else:
        assert bool(reason) == file.seen
        assert images.damage(path) or file.name == 'lying.png'  # whose checksums are right: found when it is decoded


def test_header_does_not_decode(tmp_path, monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, 'load', lambda self: pytest.fail('decodes'))
    for file in GOOD:
        assert decoding.read_header(file.content, file.name).size == file.size


# ---------------------------------------------------------------------- readers
def in_folder(root: Path, file: Hostile) -> Path:
    root.mkdir(parents=True)
    (root / file.name).write_bytes(file.content)
    return root / file.name


def as_image(tensor) -> np.ndarray:
    return np.round(tensor.numpy()[::-1].transpose(1, 2, 0) * 255).astype(np.uint8)


def section(kind: str, phase: str = 'val', **keys) -> dict:
    return {'name': 'x', 'type': kind, 'phase': phase, 'scale': 1, 'io_backend': {'type': 'disk'}, **keys}


def by_paired(root: Path, file: Hostile) -> np.ndarray:
    in_folder(root / 'x', file)
    dataset = build_dataset(section('PairedImageDataset', dataroot_gt=str(root / 'x'), dataroot_lq=str(root / 'x')))
    return as_image(dataset[0]['gt'])


def by_single(root: Path, file: Hostile) -> np.ndarray:
    in_folder(root / 'x', file)
    return as_image(build_dataset(section('SingleImageDataset', dataroot_lq=str(root / 'x')))[0]['lq'])


def by_unpaired(root: Path, file: Hostile) -> np.ndarray:
    in_folder(root / 'x', file)
    keys = {'dataroot_gt': str(root / 'x'), 'dataroot_real_lq': str(root / 'x'), 'make_lq': False}
    return as_image(build_dataset(section('UnpairedImageDataset', **keys))[0]['real_lq'])


def by_hr_pool(root: Path, file: Hostile) -> np.ndarray:
    in_folder(root / 'x', file)
    dataset = build_dataset(section('HRImageDataset', 'train', dataroot_gt=str(root / 'x'), gt_size=1))
    return dataset.read(dataset.paths[0])


def by_lmdb(root: Path, file: Hostile) -> np.ndarray:
    folder = root / 'x.lmdb'
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        transaction.put(b'key', file.content)
    (folder / 'meta_info.txt').write_text('key.png (32,32,3) 1\n')
    keys = {'dataroot_gt': str(folder), 'dataroot_lq': str(folder), 'io_backend': {'type': 'lmdb'}}
    return as_image(build_dataset(section('PairedImageDataset') | keys)[0]['gt'])


def by_preparation(root: Path, file: Hostile) -> np.ndarray:
    return read_image(in_folder(root / 'x', file))[0]


def by_evaluation(root: Path, file: Hostile) -> np.ndarray:
    return evaluation.read(in_folder(root / 'x', file))


def by_synthesis(root: Path, file: Hostile) -> np.ndarray:
    return read_picture(Picture('key', in_folder(root / 'x', file), None, 0))


READERS = [
    by_paired, by_single, by_unpaired, by_hr_pool, by_lmdb, by_preparation, by_evaluation, by_synthesis
]  # fmt: skip


@pytest.mark.parametrize('read', READERS, ids=lambda reader: reader.__name__)
def test_readers_agree(tmp_path, read: Callable):
    for number, file in enumerate(FILES):
        root = tmp_path / str(number)
        if file.size:
            assert np.array_equal(read(root, file), reference(file)), file.name
        else:
            with pytest.raises((UserError, ImageError)) as caught:
                read(root, file)
            assert file.refusal in str(caught.value)


@pytest.mark.parametrize('file', [file for file in FILES if file.size != (1, 1)], ids=names)
def test_a_training_sample_follows_max_bad_samples(tmp_path, file, caplog):
    """A refused file is passed over once, by name; any other is trained on."""
    for folder in ('gt', 'lq'):
        in_folder(tmp_path / folder, file)
        (tmp_path / folder / 'zz.png').write_bytes(encoded('PNG'))
    keys = {f'dataroot_{folder}': str(tmp_path / folder) for folder in ('gt', 'lq')}
    keys |= {'gt_size': 8, 'use_hflip': True, 'use_rot': True}
    dataset = SeededDataset(build_dataset(section('PairedImageDataset', 'train', **keys)), seed=0)
    wanted = next(i for i, pair in enumerate(dataset.dataset.paths) if pair['gt_path'].endswith(file.name))
    sample = dataset[0, wanted]
    assert sample['gt'].shape == (3, 8, 8)
    assert 0 <= sample['gt'].min() <= sample['gt'].max() <= 1
    assert Path(sample['gt_path']).name == (file.name if file.size else 'zz.png')


# ---------------------------------------------------------------------- folders
def test_directory_named_like_an_image_is_no_file(tmp_path):
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'dangling.png').symlink_to('nowhere')
    (tmp_path / 'a.png').write_bytes(encoded('PNG'))
    assert images.folder_names(tmp_path) == ['a.png']


def test_link_to_itself_is_named(tmp_path):
    (tmp_path / 'loop.png').symlink_to('loop.png')
    with pytest.raises(UserError, match=r'loop\.png cannot be read: Too many levels of symbolic links\. Remove it'):
        images.folder_names(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_unreadable_file_is_named(tmp_path):
    path = in_folder(tmp_path / 'x', GOOD[0])
    path.chmod(0)
    assert 'Permission denied' in images.look(path)[1]
    with pytest.raises(ImageError, match='Permission denied'):
        decoding.decode_file(path)


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path / 'none.png', tmp_path):
        with pytest.raises(ImageError, match=f'^{path} cannot be opened'):
            decoding.decode_file(path)


def test_flags_of_basicsr_are_kept():
    from basicsr.utils import imfrombytes

    grey = imfrombytes(encoded('PNG', 'L'), flag='grayscale')
    assert grey.shape == (hostile_images.SIDE, hostile_images.SIDE)
    assert imfrombytes(encoded('PNG', 'RGBA'), flag='unchanged').shape[2] == 4
    assert imfrombytes(bytearray(encoded('PNG')), float32=True).dtype == np.float32
    for flag in ('color', 'grayscale'):
        for content in (b'', b'garbage'):
            with pytest.raises(ImageError):
                imfrombytes(content, flag=flag)


def test_pixels_are_opencvs_where_basicsr_was_right():
    content = encoded('JPEG')
    assert np.array_equal(decode(content), cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


# ---------------------------------------------------------------------- before training
def problems_of(root: Path, kind: str, phase: str, contents: list[bytes], **keys) -> list[str]:

    for folder in ('gt', 'lq'):
        (root / folder).mkdir(parents=True)
        for number, content in enumerate(contents):
            (root / folder / f'{number}.png').write_bytes(content)
    roots = {'UnpairedImageDataset': 'dataroot_real_lq', 'PairedImageDataset': 'dataroot_lq'}
    data_opt = section(kind, phase, dataroot_gt=str(root / 'gt'), gt_size=8, use_hflip=True, use_rot=True, **keys)
    if kind in roots:
        data_opt[roots[kind]] = str(root / 'lq')
    if phase == 'train':
        data_opt |= {'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0}
    opt = {'scale': 1, 'datasets': {'train': data_opt, phase: data_opt}}
    return [str(problem) for problem in datasets.problems(opt, is_train=True)]


DATASETS = ['PairedImageDataset', 'UnpairedImageDataset', 'HRImageDataset', 'MultiScaleImageDataset']


@pytest.mark.parametrize('kind', DATASETS)
@pytest.mark.parametrize('file', [file for file in BAD if file.seen], ids=names)
def test_bad_headers_are_refused_where_the_run_would_stop(tmp_path, kind, file):
    good = encoded('PNG')
    assert problems_of(tmp_path / 'few', kind, 'train', [file.content, good, good], max_bad_samples=1) == []
    found = problems_of(tmp_path / 'many', kind, 'train', [file.content] * 2 + [good], max_bad_samples=1)
    assert found
    assert all('2 of the 3 samples looked at cannot be used' in problem for problem in found)
    assert file.refusal in found[0]
    assert 'gt/0.png: it ' in found[0]
    all_bad = problems_of(tmp_path / 'all', kind, 'train', [file.content])
    assert '1 of the 1 samples' in all_bad[0]


@pytest.mark.parametrize('kind', DATASETS)
def test_validation_images_are_decoded_before_training(tmp_path, kind):
    jpeg = encoded('JPEG')
    found = problems_of(tmp_path, kind, 'val', [encoded('PNG'), jpeg[:-20]])
    wanted = f'{tmp_path}/gt/1.png cannot be read: it does not decode: it is a JPEG that was cut short'
    assert any(wanted in problem for problem in found)
