"""Depths and transparency that OpenCV leaves as they are, or multiplies into the colours."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from ext_core.use.photographs import Photograph, encode, read_photograph
from ext_data.decoding import decode, decode_file

RNG = np.random.default_rng(0)
COLOURS = cv2.resize(RNG.integers(0, 256, (4, 4, 3), np.uint8), (32, 24), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize('maximum', [100, 1023, 4095, 65535])
@pytest.mark.parametrize('colours', [1, 3])
def test_the_maximum_of_a_ppm_is_white(maximum, colours, tmp_path):
    values = np.round(COLOURS[..., :colours] / 255 * maximum).astype('>u2' if maximum > 255 else np.uint8)
    kind, path = {1: b'P5', 3: b'P6'}[colours], tmp_path / 'a.ppm'
    path.write_bytes(b'%s # %d\n32 24\n# grey levels\n%d\n' % (kind, 7, maximum) + values.tobytes())
    exact = values.astype(np.float64) / maximum
    assert decode_file(path)[..., ::-1] == pytest.approx(np.broadcast_to(exact * 255, COLOURS.shape), abs=0.51)
    read = read_photograph(path).pixels
    assert read.shape[2] == colours
    assert read == pytest.approx(exact * np.iinfo(read.dtype).max, abs=1)  # Pillow rounds down


def test_ten_bits_of_avif(tmp_path):
    path = str(tmp_path / 'a.avif')
    options = [cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 100]
    try:
        cv2.imwrite(path, COLOURS[..., ::-1].astype(np.uint16) * 4, options)
    except cv2.error:
        pytest.skip('OpenCV is built without AVIF')
    assert np.abs(decode_file(tmp_path / 'a.avif')[..., ::-1].astype(int) - COLOURS).mean() < 3


ALPHA = np.where(np.arange(32) < 16, 100, 255).astype(np.uint8)[None].repeat(24, 0)


def test_alpha_of_a_tiff_is_dropped(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.dstack([COLOURS, ALPHA]), photometric='rgb', extrasamples=['unassalpha'])
    assert np.array_equal(decode_file(tmp_path / 'a.tif')[..., ::-1], COLOURS)


@pytest.mark.parametrize(('kind', 'alpha'), [('assocalpha', True), ('unassalpha', True), ('unspecified', False)])
def test_alpha_of_sixteen_bits_is_what_the_tiff_says(kind, alpha, tmp_path):
    factor = ALPHA[..., None] / 255 if kind == 'assocalpha' else 1
    written = np.dstack([np.round(COLOURS * 257.0 * factor), ALPHA * 257.0]).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', written, photometric='rgb', extrasamples=[kind])
    read = read_photograph(tmp_path / 'a.tif')
    assert read.pixels == pytest.approx(COLOURS * 257.0, abs=2)
    assert (read.alpha is not None) == alpha
    assert not alpha or np.array_equal(read.alpha, ALPHA * np.uint16(257))


def test_the_grey_of_a_png_that_is_not_seen(tmp_path):
    grey = COLOURS[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / 'a.png', transparency=int(grey[0, 0]))
    assert np.array_equal(read_photograph(tmp_path / 'a.png').alpha == 0, grey == grey[0, 0])


def test_webp_has_no_profile_of_greys(tmp_path):
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    grey = Photograph(COLOURS[..., :1], None, made[:16] + b'GRAY' + made[20:], None)
    (tmp_path / 'a.webp').write_bytes(encode(grey, '.webp', 95))
    with Image.open(tmp_path / 'a.webp') as written:
        assert 'icc_profile' not in written.info
    assert decode((tmp_path / 'a.webp').read_bytes()).shape == COLOURS.shape
