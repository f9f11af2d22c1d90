"""Everything that a file holds goes through reading, enlarging and writing."""

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
import torch
from inference_tools import Repeat, Same, network, noise, repeated
from PIL import Image, ImageCms, ImageOps

from ext_core.errors import UserError
from ext_core.use import photographs
from ext_core.use.enlarge import Enlarger
from ext_core.use.photographs import Photograph, encode, read_photograph
from ext_data.decoding import ImageError, decode


def profile(kind: str) -> bytes:
    """An ICC profile of a colour space; of grey and CMYK there is none to make, so its header is changed."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    return made[:16] + kind.encode() + made[20:]


@pytest.fixture
def saved(tmp_path):
    """A Pillow image as a file, read again."""

    def save(image: Image.Image, name: str, **options: object) -> Photograph:
        image.save(tmp_path / name, **options)
        return read_photograph(tmp_path / name)

    return save


def again(photograph: Photograph, suffix: str, tmp_path, quality: int = 95) -> Photograph:
    """Written and read again."""
    path = tmp_path / f'again{suffix}'
    path.write_bytes(encode(photograph, suffix, quality))
    return read_photograph(path)


# ---------------------------------------------------------------------- modes
@pytest.mark.parametrize(
    ('shape', 'mode'), [((5, 7), 'L'), ((5, 7, 2), 'LA'), ((5, 7, 3), 'RGB'), ((5, 7, 4), 'RGBA'), ((1, 1, 3), 'RGB')]
)
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_eight_bits(shape, mode, suffix, saved, tmp_path):
    array = noise(*shape)
    photograph = saved(Image.fromarray(array), f'a{suffix}')
    colours = 1 if mode[0] == 'L' else 3
    flat = array.reshape(*shape[:2], -1)
    assert np.array_equal(photograph.pixels, flat[..., :colours])
    assert (photograph.alpha is None) == (mode in ('L', 'RGB'))
    if photograph.alpha is not None:
        assert np.array_equal(photograph.alpha, flat[..., -1])
    made = Enlarger(network(), say=pytest.fail)(photograph, False)
    assert np.array_equal(made.pixels, repeated(flat[..., :colours]))
    written = encode(made, suffix, 95)
    with Image.open(io.BytesIO(written)) as image:
        assert image.mode == mode
    restored = again(made, suffix, tmp_path)
    assert np.array_equal(restored.pixels, made.pixels)
    if photograph.alpha is not None:
        assert np.array_equal(restored.alpha, repeated(flat[..., -1]))


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_sixteen_bits_are_exact(channels, suffix, tmp_path):
    array = noise(6, 9, channels, dtype=np.uint16)
    photograph = Photograph(array[..., : 1 if channels < 3 else 3], array[..., -1] if channels in (2, 4) else None)
    restored = again(photograph, suffix, tmp_path)
    assert restored.deep
    assert np.array_equal(restored.pixels, np.broadcast_to(photograph.pixels, restored.pixels.shape))
    assert restored.pixels.shape[2] == 1 or channels != 1
    if photograph.alpha is not None:
        assert np.array_equal(restored.alpha, photograph.alpha)
    made = Enlarger(network(), say=pytest.fail)(restored, True)
    assert made.deep
    assert np.array_equal(made.pixels, repeated(restored.pixels))


def test_sixteen_bits_of_other_writers(tmp_path):
    array = noise(4, 6, 3, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / 'a.ppm'), array[..., ::-1])
    tifffile.imwrite(tmp_path / 'b.tif', array, photometric='rgb', compression='deflate')
    for name in ('a.ppm', 'b.tif'):
        assert np.array_equal(read_photograph(tmp_path / name).pixels, array)


def test_palettes_and_single_bits(saved):
    colours = Image.fromarray(noise(8, 9, 3)).quantize(16)
    photograph = saved(colours, 'p.png')
    assert np.array_equal(photograph.pixels, np.asarray(colours.convert('RGB')))
    assert photograph.alpha is None
    with_hole = saved(colours, 'hole.png', transparency=3)
    assert with_hole.alpha is not None
    assert np.array_equal(with_hole.alpha == 0, np.asarray(colours) == 3)
    greys = Image.fromarray(noise(8, 9)).convert('P')
    greys.putpalette([level for level in range(256) for _ in range(3)])
    assert saved(greys, 'g.png').pixels.shape[2] == 1
    bits = noise(8, 9) > 127
    assert np.array_equal(saved(Image.fromarray(bits), 'one.png').pixels[..., 0], bits * 255)
    single = saved(colours, 's.gif')
    assert single.pixels.shape == (8, 9, 3)


def test_red_stays_red(saved, tmp_path):
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0], red[..., 2] = 100, 40
    for suffix in ('.png', '.webp', '.jpg', '.tif'):
        made = Enlarger(network(Repeat()))(saved(Image.fromarray(red), 'r.png'), False)
        assert made.pixels[0, 0].tolist() == [110, 0, 40]
        assert np.abs(again(made, suffix, tmp_path).pixels - np.array([110.0, 0, 40])).max() <= 6
    deep = Enlarger(network(Repeat()))(Photograph(red.astype(np.uint16) * 257), True)
    assert again(deep, '.png', tmp_path).pixels[0, 0].tolist() == [110 * 257, 0, 40 * 257]


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_pixels_are_those_of_training_and_evaluation(suffix, saved, tmp_path):
    photograph = saved(Image.fromarray(cv2.GaussianBlur(noise(33, 47, 3), (0, 0), 2)), f'a{suffix}')
    assert np.array_equal(photograph.pixels[..., ::-1], decode((tmp_path / f'a{suffix}').read_bytes()))


def test_cmyk_is_converted_and_said(saved):
    photograph = saved(Image.fromarray(noise(8, 8, 3)).convert('CMYK'), 'c.jpg', quality=100)
    assert photograph.pixels.shape == (8, 8, 3)
    assert 'CMYK' in photograph.notes[0]
    damaged = saved(Image.fromarray(noise(8, 8, 3)).convert('CMYK'), 'd.jpg', icc_profile=profile('CMYK')[:200])
    assert 'its colour profile is damaged' in damaged.notes
    assert damaged.profile is None


# ---------------------------------------------------------------------- what belongs to the pixels
def camera_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0100] = orientation, 'Maker', 7
    exif.get_ifd(0x8769).update({0xA002: 7, 0xA003: 5, 0x829A: 0.25})
    exif.get_ifd(0x8825)[1] = 'N'
    return exif


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tif'])
def test_orientation_is_applied_and_reset(orientation, suffix, saved, tmp_path):
    corner = np.zeros((16, 24, 3), np.uint8)
    corner[:8, :16] = 255
    image = Image.fromarray(corner)
    exif = camera_exif(orientation)
    if suffix == '.tif':
        del exif[0x0100]  # there it is the width of the file
    photograph = saved(image, f'o{suffix}', exif=exif, **({'quality': 95} if suffix in ('.jpg', '.webp') else {}))
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    assert photograph.pixels.shape == upright.shape
    assert np.abs(photograph.pixels - upright).max() < 60
    if suffix == '.tif':
        return
    made = Enlarger(network())(photograph, False)
    with Image.open(io.BytesIO(encode(made, suffix, 95))) as result:
        exif = result.getexif()
        assert (exif[0x0112], exif[0x010F], exif.get_ifd(0x8825)[1]) == (1, 'Maker', 'N')
        assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == result.size == made.pixels.shape[1::-1]
        assert exif.get_ifd(0x8769)[0x829A] == 0.25
        assert 0x0100 not in exif
    assert again(made, suffix, tmp_path).pixels.shape == made.pixels.shape


@pytest.mark.parametrize('orientation', [1, 6, 7])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_orientation_of_sixteen_bits(orientation, suffix, tmp_path):
    array = noise(4, 6, 3, dtype=np.uint16)
    path = tmp_path / f'a{suffix}'
    if suffix == '.tif':
        tifffile.imwrite(path, array, photometric='rgb', metadata=None, extratags=[(274, 'H', 1, orientation, True)])
    else:
        chunk = np.frombuffer(camera_exif(orientation).tobytes()[6:], np.uint8)
        _, content = cv2.imencodeWithMetadata('.png', array[..., ::-1], [cv2.IMAGE_METADATA_EXIF], [chunk])
        path.write_bytes(content.tobytes())
    expected = {1: array, 6: np.rot90(array, -1), 7: array[::-1, ::-1].swapaxes(0, 1)}[orientation]
    photograph = read_photograph(path)
    assert np.array_equal(photograph.pixels, expected)
    assert np.array_equal(again(photograph, suffix, tmp_path).pixels, expected)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tif'])
def test_profile_is_kept(suffix, saved, tmp_path):
    colour = profile('RGB ')
    photograph = saved(Image.fromarray(noise(6, 6, 3)), f'a{suffix}', icc_profile=colour)
    assert photograph.profile == colour
    assert again(photograph, suffix, tmp_path).profile == colour
    deep = replace(photograph, pixels=photograph.pixels.astype(np.uint16) * 257)
    if suffix in ('.png', '.tif'):
        assert again(deep, suffix, tmp_path).profile == colour
    grey = replace(photograph, pixels=photograph.pixels[..., :1])
    assert read_photograph_with(profile('RGB '), grey, tmp_path).profile is None


def read_photograph_with(icc: bytes, photograph: Photograph, tmp_path) -> Photograph:
    path = tmp_path / 'icc.jpg'
    Image.fromarray(photograph.pixels[..., 0]).save(path, icc_profile=icc)
    return read_photograph(path)


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
def test_damaged_and_long_exif_do_not_cost_the_picture(saved, tmp_path):
    broken = saved(Image.fromarray(noise(8, 8, 3)), 'b.jpg', exif=b'Exif\0\0II*\0\xff\xff\xff\x7f')
    assert broken.exif is None
    long = Image.Exif()
    long[0x010F] = 'Maker'
    long.get_ifd(0x8769)[0x927C] = bytes(66000)
    photograph = Photograph(noise(8, 8, 3), exif=long)
    with Image.open(io.BytesIO(encode(photograph, '.jpg', 95))) as image:
        assert image.getexif()[0x010F] == 'Maker'
    assert photograph.notes == ["the camera's own notes were dropped: too long"]


# ---------------------------------------------------------------------- further formats
@pytest.mark.parametrize('shape', [(5, 7), (5, 7, 3), (5, 7, 4)], ids=['grey', 'colour', 'alpha'])
@pytest.mark.parametrize('suffix', ['.tga', '.dds', '.sgi', '.qoi', '.TGA'])
def test_what_pillow_reads_is_read(shape, suffix, saved):
    if suffix == '.qoi' and len(shape) == 2:
        pytest.skip('QOI has no grey')
    array = noise(*shape)
    photograph = saved(Image.fromarray(array), f'a{suffix}')
    flat = array.reshape(*shape[:2], -1)
    colours = photograph.pixels.shape[2]
    assert np.array_equal(photograph.pixels, np.broadcast_to(flat[..., :3], (5, 7, 3))[..., :colours])
    assert (
        photograph.alpha is None if len(shape) < 3 or shape[2] == 3 else np.array_equal(photograph.alpha, flat[..., 3])
    )


def test_the_name_decides_what_is_a_tga(tmp_path):
    """Its content begins with no mark, so that damaged files of other kinds may look like one."""
    content = io.BytesIO()
    Image.fromarray(noise(5, 7, 3)).save(content, 'TGA')
    for name in ('a.png', 'a.dds'):
        (tmp_path / name).write_bytes(content.getvalue())
        with pytest.raises(ImageError, match='does not decode'):
            read_photograph(tmp_path / name)


def test_heic_is_read_where_a_package_does(saved):
    pillow_heif = pytest.importorskip('pillow_heif')
    pillow_heif.register_heif_opener()
    assert saved(Image.fromarray(noise(16, 24, 3)), 'a.heic').pixels.shape == (16, 24, 3)


def test_the_package_for_heic_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, 'readable', lambda: {'.png': 'PNG'})
    (tmp_path / 'a.HEIC').write_bytes(b'\0\0\0\x18ftypheic')
    with pytest.raises(ImageError, match=r'a\.HEIC is HEIC, for which a package is missing: pip install pillow-heif'):
        read_photograph(tmp_path / 'a.HEIC')


# ---------------------------------------------------------------------- what is refused
def test_bad_files_are_named(saved, tmp_path):
    frames = [Image.fromarray(noise(8, 8 + i, 3)[:, :8]) for i in (0, 1)]
    for name in ('a.gif', 'a.webp', 'a.tif'):
        with pytest.raises(ImageError, match=rf'{name} holds 2 frames or pages'):
            saved(frames[0], name, save_all=True, append_images=frames[1:])
    whole = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(whole, 'PNG')
    contents = {'cut.png': whole.getvalue()[:-600], 'text.png': b'hello', 'empty.jpg': b''}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=rf'{name} (does not decode|is empty)'):
            read_photograph(tmp_path / name)
    tifffile.imwrite(tmp_path / 'f.tif', np.zeros((4, 4), np.float32))
    with pytest.raises(ImageError, match=r'f\.tif holds float32 values'):
        read_photograph(tmp_path / 'f.tif')
    with pytest.raises(ImageError, match='cannot be opened'):
        read_photograph(tmp_path / 'nowhere.png')


def test_what_a_format_cannot_hold_is_refused():
    with pytest.raises(ImageError, match='no transparency'):
        encode(Photograph(noise(2, 2, 3), noise(2, 2)), '.jpg', 95)
    with pytest.raises(ImageError, match=r'20000 x 1 cannot be written as \.webp'):
        encode(Photograph(noise(1, 20000, 3)), '.webp', 95)


# ---------------------------------------------------------------------- enlarging
@pytest.mark.parametrize('size', [(1, 1), (1, 5), (3, 1), (17, 31), (50, 33)])
@pytest.mark.parametrize('tile', [0, 16])
def test_any_size(size, tile):
    array = noise(*size, 3)
    made = Enlarger(network(Same(3)), tile=tile)(Photograph(array), False)
    assert np.array_equal(made.pixels, repeated(array, 3))


def test_grey_is_luma_of_a_network_for_colour():
    made = Enlarger(network(Repeat()))(Photograph(np.full((4, 4, 1), 80, np.uint8)), False)
    assert made.pixels.shape == (8, 8, 1)
    assert (made.pixels == 86).all()  # 0.299 * 100 + 0.701 * 80


@pytest.mark.parametrize('way', ['network', 'bicubic'])
def test_alpha(way):
    class Half(Same):
        def forward(self, x):
            return super().forward(x) / 2

    ramp = np.broadcast_to(np.arange(0, 160, 10, dtype=np.uint8), (16, 16))
    enlarger = Enlarger(network(Half()), alpha=way)
    made = enlarger(Photograph(noise(16, 16, 3), ramp.copy()), False).alpha
    assert made is not None
    expected = repeated(ramp) / 2 if way == 'network' else np.interp(np.arange(32) / 2 - 0.25, np.arange(16), ramp[0])
    assert np.abs(made[:, 2:-2] - np.broadcast_to(expected, (32, 32))[:, 2:-2]).max() <= 1
    opaque = enlarger(Photograph(noise(16, 16, 3), np.full((16, 16), 255, np.uint8)), False).alpha
    assert opaque is not None
    assert (opaque == 255).all()


@pytest.mark.parametrize(('factor', 'size'), [(1.5, (15, 30)), (2, (20, 40)), (3, (30, 60)), (0.01, (1, 1))])
def test_outscale(factor, size):
    flat = np.full((10, 20, 3), 77, np.uint8)
    made = Enlarger(network(), outscale=factor)(Photograph(flat, noise(10, 20)), False)
    assert made.pixels.shape == (*size, 3)
    assert made.alpha is not None
    assert made.alpha.shape == size
    assert (made.pixels == 77).all()


def test_values_that_are_no_numbers_are_an_error():
    class Broken(Same):
        def forward(self, x):
            return super().forward(x) / x.sum()

    with pytest.raises(UserError, match='Broken x2 gives values that are no numbers'):
        Enlarger(network(Broken()))(Photograph(np.zeros((4, 4, 3), np.uint8)), False)


def test_self_ensemble_goes_through():
    class Leaning(Same):
        def forward(self, x):
            return super().forward(x) + torch.linspace(0, 0.5, 2 * x.shape[-1])

    flat = Photograph(np.zeros((16, 16, 3), np.uint8))
    plain, ensemble = (Enlarger(network(Leaning()), ensemble=chosen)(flat, False).pixels for chosen in (False, True))
    assert plain.max() == 128
    assert (np.abs(ensemble.astype(int) - 64) <= 1).all()


# ---------------------------------------------------------------------- tiles and memory
class Greedy(Same):
    """Says that memory is exhausted for more than so many pixels."""

    most = 100 * 100
    sizes: list[tuple[int, int]] = []

    def forward(self, x):
        if x.shape[-1] * x.shape[-2] > self.most:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        self.sizes.append(tuple(x.shape[-2:]))
        return super().forward(x)


def test_exhausted_memory_leads_to_smaller_tiles(monkeypatch):
    said: list[str] = []
    array = noise(100, 200, 3)
    enlarger = Enlarger(network(Greedy()), tile=0, overlap=4, say=said.append)
    assert np.array_equal(enlarger(Photograph(array), False).pixels, repeated(array))
    assert said == [f'The memory does not suffice: going on with tiles of {side} pixels.' for side in (100, 50)]
    enlarger(Photograph(array), False)
    assert len(said) == 2  # it has learnt
    monkeypatch.setattr(Greedy, 'most', 16 * 16)
    with pytest.raises(UserError, match='the memory does not suffice'):
        enlarger(Photograph(array), False)


def test_automatic_tiles_follow_the_free_memory(monkeypatch):
    from ext_core.use import enlarge as inference_enlarge

    tiles: list[int] = []
    enlarger = Enlarger(network(), tell=lambda done, total: tiles.append(total))
    needed = enlarger.network.bytes_per_pixel
    assert needed is not None
    assert needed >= 2 * 2 * 3 * 4  # the result
    for free, count in ((1e9, 1), (2 * 20000 * needed, 2)):
        tiles.clear()
        monkeypatch.setattr(inference_enlarge, 'free_bytes', lambda device, free=free: free)
        array = noise(130, 200, 3)
        assert np.array_equal(enlarger(Photograph(array), False).pixels, repeated(array))
        assert tiles[0] >= count
        assert (tiles[0] == 1) == (count == 1)
