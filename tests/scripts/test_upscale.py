"""The command line of scripts/upscale.py and its benchmark."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from script_loader import load_script

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'ext_core'))
from inference_tools import noise, small_weights

script = load_script('upscale')


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'in').mkdir()
    Image.fromarray(noise(20, 30, 3)).save('in/a.png')
    Image.fromarray(noise(9, 7)).save('in/a.bmp')
    small_weights(tmp_path / 'net.pth')
    return tmp_path


def upscale(*words: str) -> int:
    return script.main(['-m', 'net.pth', '-i', 'in', '-o', 'out', '--device', 'cpu', *words])


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_folder(place, capsys):
    assert upscale('--json', 'times.json') == 0
    assert 'MSRResNet x2 on cpu, 2 images' in capsys.readouterr().out
    assert pixels('out/a_png.png').shape == (40, 60, 3)
    assert pixels('out/a_bmp.png').shape == (18, 14)
    record = json.loads(Path('times.json').read_text())
    assert (record['network'], record['scale']) == ('MSRResNet x2', 2)
    assert [image['status'] for image in record['images']] == ['made', 'made']
    assert record['images'][1]['result_size'] == [60, 40]
    assert upscale() == 0
    assert '2 there before' in capsys.readouterr().out


def test_same_picture_as_the_evaluation_has(place):
    """Beside a plain call of the network, with BasicSR's conversions."""
    from ext_core.networks.files import open_generator
    from ext_core.use.evaluation import read
    from ext_core.use.evaluation import upscale as plain

    upscale('--suffix', '_x2', '--tile', '16')
    expected = plain(open_generator('net.pth').net, read(Path('in/a.png')))
    assert np.abs(pixels('out/a_png_x2.png').astype(int) - expected[..., ::-1]).max() <= 1
    assert (pixels('out/a_png_x2.png') == expected[..., ::-1]).mean() > 0.99


def test_options_reach_their_places(place):
    assert (
        upscale('--ext', 'webp', '--outscale', '1.5', '--self-ensemble', '--half', '--jobs', '0', '--quality', '80')
        == 0
    )
    assert pixels('out/a_png.webp').shape == (30, 45, 3)
    assert upscale('--overwrite', '--overlap', '4', '--tile', '0', '--alpha', 'bicubic') == 0


def test_failures_are_named_at_the_end(place, capsys):
    Path('in/b.png').write_bytes(b'nothing')
    assert upscale() == 1
    error = capsys.readouterr().err
    assert '1 of 3 images could not be enlarged' in error
    assert 'in/b.png does not decode' in error
    assert pixels('out/a_png.png').shape == (40, 60, 3)


def test_what_is_left_out_is_counted_and_named(place, capsys):
    Image.fromarray(noise(6, 8, 3)).save('in/c.tga')
    Path('in/sub').mkdir()
    for name in ('notes.txt', 'clip.mp4', '.hidden', 'bad.tga', 'sub/deep.txt', 'phone.heic'):
        Path('in', name).write_bytes(b'nothing')
    heic = importlib.util.find_spec('pillow_heif') is not None
    for words, others in (
        (['-o', 'in/out'], ['in/sub (--recursive)']),
        (['-o', 'in/out', '--recursive'], ['in/sub/deep.txt']),
    ):
        assert upscale(*words) == 1
        captured = capsys.readouterr()
        assert '3 images made' in captured.out or '3 there before' in captured.out
        failed = 2 if heic else 1
        assert f'{failed} failed, {4 - heic} left out: in/clip.mp4, in/notes.txt' in captured.out
        for name in others if heic else [*others, 'in/phone.heic (pip install pillow-heif)']:
            assert name in captured.out
        assert 'in/bad.tga does not decode' in captured.err
    assert pixels('in/out/c.png').shape == (12, 16, 3)
    assert upscale('-i', 'in/sub') == 1
    assert 'There is: in/sub/deep.txt.' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--suffix', '/x'], '--suffix /x'),
        (['-o', 'in/a.png'], 'cannot be made'),
        (['--scale', '3'], 'of scale 2, not 3'),
        (['--json', 'in/a.png'], 'in/a.png is an image of the input and would be overwritten'),
        (['--json', 'nowhere/times.json'], '--json nowhere/times.json cannot be written'),
    ],
)
def test_errors_are_messages(place, capsys, words, message):
    assert upscale(*words) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    for out_of_range in ('--tile=-1', '--tile=x', '--outscale=0', '--quality=0', '--jobs=-1'):
        with pytest.raises(SystemExit):
            upscale(out_of_range)


def test_interruption(place, capsys, monkeypatch):
    from ext_core.use.enlarge import Enlarger

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Enlarger, '__call__', stop)
    assert upscale() == 130
    assert 'the same command makes the others' in capsys.readouterr().err
    assert not list(Path('out').iterdir())
