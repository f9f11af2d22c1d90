"""Generators that come with the project have names, wherever a file of weights may be named."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from tiny_runs import PROJECT

from ext_core.box import generators
from ext_core.networks.files import open_generator
from ext_core.options import loading
from ext_core.options.check import find_problems
from ext_models.weights import load_checkpoint

sys.path.insert(0, str(PROJECT / 'tests' / 'scripts'))
from script_loader import load_script

NAMES = sorted(generators())
FINETUNE = PROJECT / 'options' / 'finetune_mask_photo_x4.yml'


def test_the_box_is_light():
    assert sum(path.stat().st_size for path in generators().values()) < 8_000_000


@pytest.mark.parametrize('name', NAMES)
def test_a_name_opens_its_file_which_says_what_it_is(name):
    opened = open_generator(name)
    assert opened.source == 'metadata'
    assert opened.path == generators()[name]
    assert len(opened.metadata.extra['note']) > 20
    assert opened.metadata.datasets


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('photo_x4_psnr').mkdir()
    with pytest.raises(Exception, match='photo_x4_psnr is not a finished experiment'):
        open_generator('photo_x4_psnr')


def test_upscale_without_a_network_and_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photo = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    cv2.imwrite('photo.jpg', photo)
    script = load_script('upscale')
    assert script.main(['-i', 'photo.jpg']) == 0
    assert capsys.readouterr().out.startswith('photo_x4')
    assert cv2.imread('photo_x4.png').shape == (24, 32, 3)
    assert script.main(['-i', 'photo.jpg', '-o', 'elsewhere']) == 0
    assert [path.name for path in Path('elsewhere').iterdir()] == ['photo.jpg']
    with pytest.raises(SystemExit):
        script.main(['--list-models'])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-len(NAMES) :]] == NAMES


def resolved(*flags: str) -> dict:
    args = loading.parse_arguments(['-opt', str(FINETUNE), *flags], True)
    return loading.resolve(args, PROJECT, True)[1]


def test_a_training_begins_with_the_weights_of_a_name():
    opt = resolved()
    file = Path(opt['path']['pretrain_network_g'])
    assert file in generators().values()
    assert not [problem for problem in find_problems(opt, True) if 'network_g' in problem.path]
    net = build_network(opt['network_g'])
    net.load_state_dict(load_checkpoint(file))
    for name, weight in open_generator(file.stem).net.state_dict().items():
        assert torch.equal(net.state_dict()[name], weight)


def test_the_demo_leaves_a_network_of_the_box_as_it_is():
    whole, small = resolved(), resolved('--demo')
    assert small['network_g'] == whole['network_g']
    assert Path(small['path']['pretrain_network_g']).stem == 'photo_x4_psnr'
    assert small['network_d']['num_feat'] == 16
    assert small['train']['total_iter'] <= 300
