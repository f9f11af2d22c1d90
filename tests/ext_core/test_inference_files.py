"""Which images are meant, what their results are called, and that nothing is ever overwritten."""

from pathlib import Path

import pytest
from PIL import Image

from ext_core.errors import UserError
from ext_core.use.image_names import plan


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b'image')


def results(inputs: list[str], recursive: bool = False, suffix: str = '', ext: str = 'auto') -> dict[str, str]:
    jobs, _ = plan(inputs, Path('out'), suffix, ext, recursive)
    return {str(job.source): str(job.target.relative_to('out')) for job in jobs}


def test_files_folders_and_patterns(folder):
    touch(
        'one.png',
        'in/b.JPG',
        'in/a.bmp',
        'in/deep/c.webp',
        'in/notes.txt',
        'in/.hidden.png',
        'more/x.tif',
        'more/y.gif',
    )
    assert results(['one.png', 'in', 'more/*.tif']) == {
        'one.png': 'one.png',
        'in/a.bmp': 'a.png',
        'in/b.JPG': 'b.jpg',
        'more/x.tif': 'x.tif',
    }
    assert results(['in'], recursive=True, suffix='_x4', ext='webp') == {
        'in/a.bmp': 'a_x4.webp',
        'in/b.JPG': 'b_x4.webp',
        'in/deep/c.webp': 'deep/c_x4.webp',
    }
    assert results(['in/**/*.webp', 'more/?.*']) == {
        'in/deep/c.webp': 'c.webp',
        'more/x.tif': 'x.tif',
        'more/y.gif': 'y.png',
    }
    assert results(['one.png', './one.png', '*.png']) == {'one.png': 'one.png'}


def test_names_with_brackets_are_files_first(folder):
    touch('a[1].png', 'a1.png')
    assert results(['a[1].png']) == {'a[1].png': 'a[1].png'}


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        (['no.png'], r'no\.png: there is no such'),
        (['*.png'], r'\*\.png: no images match'),
        (['empty'], 'holds no images. Add --rec'),
    ],
)
def test_what_is_not_there_is_named(folder, inputs, message):
    touch('empty/readme.txt', 'empty/deep/a.png')
    with pytest.raises(UserError, match=message):
        results(inputs)


# ---------------------------------------------------------------------- collisions
def test_equal_names_all_become_longer(folder):
    touch('in/a.png', 'in/a.jpg', 'in/b.jpg')
    assert results(['in']) == {'in/a.jpg': 'a.jpg', 'in/a.png': 'a.png', 'in/b.jpg': 'b.jpg'}
    assert results(['in'], ext='png') == {'in/a.jpg': 'a_jpg.png', 'in/a.png': 'a_png.png', 'in/b.jpg': 'b.png'}


def test_longer_names_that_collide_again(folder):
    touch('in/a.png', 'in/a.jpg', 'in/a_jpg.png')
    found = results(['in'], ext='png')
    assert len(set(found.values())) == 3
    assert found['in/a_jpg.png'] == 'a_jpg_png.png'


def test_files_of_one_name_from_two_folders(folder):
    touch('x/a.png', 'y/a.png', 'u/v/a.png', 'w/v/a.png')
    assert results(['x/a.png', 'y/a.png']) == {'x/a.png': 'x_a_png.png', 'y/a.png': 'y_a_png.png'}
    assert set(results(['u/v/a.png', 'w/v/a.png']).values()) == {'u_v_a_png.png', 'w_v_a_png.png'}


def test_transparency_becomes_png_where_jpeg_is_asked_for(folder):
    for mode in ('RGBA', 'RGB'):
        Image.new(mode, (2, 2)).save(f'{mode}.png')
    touch('broken.png')
    assert results(['*.png'], ext='jpg') == {'RGBA.png': 'RGBA.png', 'RGB.png': 'RGB.jpg', 'broken.png': 'broken.jpg'}


# ---------------------------------------------------------------------- the output among the inputs
def test_an_image_is_never_overwritten(folder):
    touch('in/a.png')
    for inputs in (['in'], ['in/a.png']):
        with pytest.raises(UserError, match=r'in/a\.png is an image of the input.*--suffix'):
            plan(inputs, Path('in'))


def test_results_of_the_run_before_are_no_images(folder):
    touch('in/a.png', 'in/a_x4.png', 'in/results/b.png')
    beside, _ = plan(['in'], Path('in'), '_x4')
    assert [job.target for job in beside] == [Path('in/a_x4.png')]
    below, _ = plan(['in'], Path('in/results'), recursive=True)
    assert [job.source for job in below] == [Path('in/a.png'), Path('in/a_x4.png')]


def test_results_below_what_a_pattern_searches_are_no_images(folder):
    touch('in/a.png', 'in/deep/b.png', 'in/out/a.png', 'in/out/earlier.png')
    for pattern in ('in/**/*.png', 'in/*/*.png', 'i?/**/*.png'):
        sources = {str(job.source) for job in plan([pattern], Path('in/out'))[0]}
        assert sources == {'in/a.png', 'in/deep/b.png'} - ({'in/a.png'} if '**' not in pattern else set())
    chosen, _ = plan(['in/out/*.png'], Path('in/out'), '_x4')
    assert {str(job.source) for job in chosen} == {'in/out/a.png', 'in/out/earlier.png'}


def test_images_may_lie_below_the_output(folder):
    touch('out/photographs/a.png')
    assert results(['out/photographs']) == {'out/photographs/a.png': 'a.png'}


def test_links_to_nothing_are_left_to_be_named_and_others_count_once(folder):
    touch('in/a.png', 'in/notes.txt')
    for name, to in (('again.png', 'a.png'), ('gone.png', 'nowhere.png'), ('round.png', 'round.png')):
        Path('in', name).symlink_to(to)
    expected = {f'in/{name}.png': f'{name}.png' for name in ('a', 'gone', 'round')}
    assert results(['in']) == results(['in/*.png']) == expected


def test_linked_folders_are_entered_once(folder):
    touch('disk/a.png', 'in/b.png')
    Path('in', 'linked').symlink_to('../disk')
    Path('disk', 'back').symlink_to('../in')
    assert results(['in'], recursive=True) == {'in/b.png': 'b.png', 'in/linked/a.png': 'linked/a.png'}
