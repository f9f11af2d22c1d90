"""Evaluation of a tiny finished experiment on demo images made here."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.metrics import calculate_psnr
from basicsr.utils.registry import METRIC_REGISTRY
from finished_experiments import finished_experiment

from ext_core.errors import UserError
from ext_core.use import evaluation
from ext_data.preparation.demo import ensure_demo_data
from studies import study

NETWORK = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 4}
PSNR = {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> evaluation.Folders:
    data = ensure_demo_data(tmp_path_factory.mktemp('data'))
    return data / 'val' / 'gt', data / 'val' / 'lq_x4'


@pytest.fixture
def experiment(tmp_path) -> Path:
    plain, average = build_network(NETWORK), build_network(NETWORK)
    for parameter in average.parameters():
        torch.nn.init.zeros_(parameter)  # leaves the bilinear base image
    return finished_experiment(tmp_path / 'tiny', NETWORK, plain, average)


def test_command_writes_every_images_metrics_with_ema_weights(experiment, folders, tmp_path):
    output = tmp_path / 'result.json'
    place = f'demo={folders[0]}:{folders[1]}'
    command = ['--experiment', str(experiment), '--set', place, '--metrics', json.dumps(PSNR), '--output', str(output)]
    assert study.main(command) == 0
    result = json.loads(output.read_text())
    names = sorted(path.name for path in folders[0].glob('*.png'))
    assert sorted(result['demo']['psnr']) == names
    low, gt = (evaluation.read(folder / names[0]) for folder in reversed(folders))
    image = torch.from_numpy(low / 255.0).permute(2, 0, 1)[None]
    bilinear = torch.nn.functional.interpolate(image, scale_factor=4, mode='bilinear', align_corners=False)
    expected = (bilinear[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    assert result['demo']['psnr'][names[0]] == pytest.approx(calculate_psnr(expected, gt, crop_border=2), abs=0.01)


def test_pairs_are_of_any_format(tmp_path):
    for folder in ('gt', 'lq'):
        (tmp_path / folder).mkdir()
        for name in ('a.JPG', 'b.webp', 'notes.txt', '.c.png'):
            (tmp_path / folder / name).touch()
    gt, lq = tmp_path / 'gt', tmp_path / 'lq'
    assert evaluation.image_pairs([(gt, lq)]) == [(lq / name, gt / name) for name in ('a.JPG', 'b.webp')]
    for folder in (gt, lq):
        (folder / 'a.png').touch()
    with pytest.raises(UserError, match=r'gt/a\.png and a\.JPG have the same name'):
        evaluation.image_pairs([(gt, lq)])
    (gt / 'a.png').unlink()
    (lq / 'b.webp').unlink()
    with pytest.raises(UserError, match=r'no pairs of equally named images: .*lq/b\.webp'):
        evaluation.image_pairs([(gt, lq)])


def test_metrics_get_the_scale_as_border_unless_they_say_theirs(monkeypatch):
    borders = {}

    def spy(img, img2, crop_border, name):
        borders[name] = crop_border
        return float('nan')

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'spy', spy)
    image = np.zeros((8, 8, 3), np.uint8)
    metrics = {'a': {'type': 'spy', 'name': 'a'}, 'b': {'type': 'spy', 'name': 'b', 'crop_border': 0}}
    assert np.isnan(evaluation.measure(image, image, 4, metrics)['a'])
    assert borders == {'a': 4, 'b': 0}


def test_metric_without_its_weights_is_left_out_with_the_reason(monkeypatch):
    def metric(**kwargs):
        raise AssertionError('not to be called')

    def check_ready(better, net='small'):
        raise UserError(f'no weights for {net}')

    metric.check_ready = check_ready
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'weighty', metric)
    metrics = {**PSNR, 'w': {'type': 'weighty', 'net': 'large', 'better': 'lower'}}
    assert evaluation.usable_metrics(metrics) == (PSNR, {'w': 'no weights for large'})
    with pytest.raises(UserError, match='val:metrics:x'):
        evaluation.usable_metrics({'x': {'type': 'calculate_nonsense'}})


def test_validation_sets_have_both_folders():
    sections = {
        'train': {'name': 'T', 'dataroot_gt': 'a', 'dataroot_lq': 'b'},
        'val': {'name': 'V', 'dataroot_gt': 'c', 'dataroot_lq': 'd'},
        'val_2': {'dataroot_gt': 'e', 'dataroot_lq': 'f'},
        'val_3': {'name': 'unpaired', 'dataroot_lq': 'g'},
    }
    expected = {'V': (Path('c'), Path('d')), 'val_2': (Path('e'), Path('f'))}
    assert evaluation.validation_sets({'datasets': sections}) == expected
