"""Single images: what is read, how it is reduced, where it is cut."""

import cv2
import numpy as np
import pytest
from basicsr.utils.matlab_functions import imresize
from scipy.ndimage import gaussian_filter

from ext_data.preparation.images import bicubic_down, cut_pair, read_image, starts, write_png
from ext_data.preparation.layouts import Window


def noise(height, width, channels=3, dtype=np.uint8, seed=0):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width, channels), dtype=dtype, endpoint=True)


def save(path, image):
    assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize(
    ('channels', 'said'), [(1, ['grey repeated to three channels']), (3, []), (4, ['alpha channel dropped'])]
)
def test_three_channels_are_read(tmp_path, channels, said):
    image = noise(9, 7, channels)
    read, notes = read_image(save(tmp_path / 'a.png', image))
    assert np.array_equal(read, np.broadcast_to(image[:, :, :3], (9, 7, 3)))
    assert notes == said
    deep = save(tmp_path / 'deep.png', noise(9, 7, 3, np.uint16))
    assert read_image(deep)[1] == ['16-bit reduced to 8-bit']


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_bicubic_is_that_of_basicsr_rounded(scale):
    image = noise(48, 36)
    expected = imresize(image.astype(np.float32) / 255, 1 / scale)
    assert np.array_equal(bicubic_down(image, scale), (expected * 255).clip(0, 255).round().astype(np.uint8))


@pytest.mark.parametrize('sigma', [0.8, 1.6, 3.0])
def test_blur_is_scipys_gaussian_before_the_reduction(sigma):
    image = noise(48, 36)
    blurred = gaussian_filter(image / 255, (sigma, sigma, 0), mode='reflect', truncate=6)
    expected = imresize(blurred, 1 / 4) * 255
    reduced = bicubic_down(image, 4, sigma)
    assert reduced.shape == (12, 9, 3)
    assert np.abs(reduced - expected).max() < 0.51  # rounded once, at the end
    assert np.abs(bicubic_down(image, 4) - expected).max() > 5


def test_write_leaves_only_the_image(tmp_path):
    image = noise(5, 6)
    write_png(tmp_path / 'a.png', image)
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']
    assert np.array_equal(cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED), image)


@pytest.mark.parametrize(
    ('length', 'thresh', 'expected'),
    [(48, 0, [0]), (30, 0, [0]), (96, 0, [0, 24, 48]), (100, 0, [0, 24, 48, 52]), (100, 4, [0, 24, 48])],
)
def test_starts(length, thresh, expected):
    assert starts(length, Window(48, 24, thresh)) == expected


def test_pieces_of_a_pair_show_the_same_place():
    lr = noise(25, 19)
    hr = np.kron(lr, np.ones((4, 4, 1), np.uint8))
    pieces = cut_pair(hr, lr, 4, Window(40, 20))
    assert len(pieces) == 4 * 3
    for hr_piece, lr_piece in pieces:
        assert lr_piece.shape == (10, 10, 3)
        assert np.array_equal(hr_piece, np.kron(lr_piece, np.ones((4, 4, 1), np.uint8)))
