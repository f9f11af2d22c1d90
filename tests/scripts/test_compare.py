"""The comparison of an experiment with bicubic upsampling, on a tiny experiment made here."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from finished_experiments import finished_experiment
from script_loader import load_script

from ext_core.options import yaml_safe
from ext_core.use import crops
from ext_core.use.evaluation import METRICS

compare = load_script('compare')


@pytest.fixture
def experiment(tmp_path, demo_data, monkeypatch) -> Path:
    """What training leaves: an option file and weights."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(demo_data / 'val', tmp_path / 'val')
    val = {'dataroot_gt': str(tmp_path / 'val' / 'gt'), 'dataroot_lq': str(tmp_path / 'val' / 'lq_x4')}
    network = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 4}
    sections = {'train': {'mask_opt': None}, 'datasets': {'val': val}}
    return finished_experiment(tmp_path / 'experiments' / 'tiny', network, **sections)


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setitem(METRICS, 'lpips', {'type': 'calculate_psnr'})  # its weights may be absent
    return compare.main(list(arguments))


@pytest.mark.parametrize('mask', [None, {'type': 'ErrorMask'}])
def test_table_picture_and_figures(experiment, tmp_path, monkeypatch, capsys, mask):
    """The mask is shown where there was one."""
    file = experiment / 'tiny.yml'
    opt = yaml_safe.read(file)
    opt['train']['mask_opt'] = mask
    file.write_text(yaml_safe.dump(opt))
    shown, drawn = [], crops.gallery
    monkeypatch.setattr(crops, 'gallery', lambda blocks, columns: shown.extend(blocks) or drawn(blocks, columns))
    picture, figures = tmp_path / 'out.png', tmp_path / 'out.json'
    assert run(monkeypatch, '--experiment', str(experiment), '--output', str(picture), '--json', str(figures)) == 0
    for _, images in shown:
        assert [*images] == ['bicubic', 'tiny', *(['mask'] if mask else []), 'GT']
    output = capsys.readouterr().out
    assert 'bicubic' in output
    assert f'picture: {picture}' in output
    image = cv2.imread(str(picture))
    assert image.shape[1] > image.shape[0] / 3
    values = json.loads(figures.read_text())
    assert {name: len(v['psnr']) for name, v in values.items()} == {'bicubic': 2, 'tiny': 2}
    assert all(20 < value < 45 for value in values['bicubic']['psnr'])


def test_window_finds_the_detail():
    image = np.full((100, 120, 3), 128, np.uint8)
    image[60:80, 20:40] = np.random.default_rng(0).integers(0, 255, (20, 20, 3))
    y, x = crops.strongest_window(crops.detail(image), 24)
    assert y <= 60 + 4
    assert y + 24 >= 80 - 4
    assert x <= 20 + 4
    assert x + 24 >= 40 - 4


def test_missing_lr_file_is_named(experiment, tmp_path, monkeypatch, capsys):
    low = tmp_path / 'val' / 'lq_x4' / 'coffee.png'
    low.unlink()
    assert run(monkeypatch, '--experiment', str(experiment), '--output', str(tmp_path / 'x.png')) == 1
    assert 'coffee.png' in capsys.readouterr().err


def test_network_of_another_scale_is_refused(experiment, tmp_path, monkeypatch, capsys):
    """It would be compared with the upper left part of the ground truth."""
    network = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 2}
    other = finished_experiment(tmp_path / 'experiments' / 'x2', network)
    folders = ['--gt', str(tmp_path / 'val' / 'gt'), '--lq', str(tmp_path / 'val' / 'lq_x4')]
    assert run(monkeypatch, '--experiment', str(other), *folders, '--output', str(tmp_path / 'x.png')) == 1
    assert 'is not 2 times as large as' in capsys.readouterr().err


def test_crop_larger_than_the_image_is_the_image(experiment, tmp_path, monkeypatch):
    arguments = ['--experiment', str(experiment), '--output', str(tmp_path / 'x.png'), '--rows', '1']
    assert run(monkeypatch, *arguments, '--crop', '9999') == 0


@pytest.mark.parametrize('wrong', [('--output', 'folder'), ('--rows', '0'), ('--crop', '0')])
def test_arguments_are_refused_before_the_work(experiment, wrong, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, '--experiment', str(experiment), '--output', 'x.png', *wrong)
    assert f'argument {wrong[0]}: expected' in capsys.readouterr().err


def test_images_of_the_input_are_spared(experiment, tmp_path, monkeypatch, capsys):
    photograph = tmp_path / 'val' / 'gt' / 'coffee.png'
    content = photograph.read_bytes()
    for arguments in (['--output', str(photograph)], ['--output', 'x.png', '--json', str(photograph)]):
        assert run(monkeypatch, '--experiment', str(experiment), *arguments) == 1
        assert 'is an image of the input and would be overwritten' in capsys.readouterr().err
    assert photograph.read_bytes() == content
    assert run(monkeypatch, '--experiment', str(experiment), '--output', 'x.png', '--json', 'no/x.json') == 1
    assert 'cannot be written' in capsys.readouterr().err


def test_images_too_small_for_a_metric_have_none(experiment, tmp_path, monkeypatch, capsys):
    gt, lq = tmp_path / 'small' / 'gt', tmp_path / 'small' / 'lq'
    for folder, side in ((gt, 16), (lq, 4)):
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / 'a.png'), np.full((side, side, 3), 99, np.uint8))
    arguments = [
        '--gt',
        str(gt),
        '--lq',
        str(lq),
        '--output',
        str(tmp_path / 'x.png'),
        '--json',
        str(tmp_path / 'x.json'),
    ]
    assert run(monkeypatch, '--experiment', str(experiment), *arguments) == 0
    assert '–' in capsys.readouterr().out
    figures = json.loads((tmp_path / 'x.json').read_text(), parse_constant=pytest.fail)
    assert figures['tiny']['ssim'] == figures['tiny']['niqe'] == [None]
