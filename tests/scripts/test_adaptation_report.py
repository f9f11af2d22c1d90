"""The report on a chain whose figures are known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from script_loader import load_script

from ext_core.options import yaml_safe
from ext_core.use.evaluation import bicubic, measure, read

report = load_script('adaptation_report')
NETWORK = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 4}
PSNR = {'type': 'calculate_psnr', 'crop_border': 4}
NIQE = {'type': 'calculate_niqe', 'crop_border': 4, 'better': 'lower'}


@pytest.fixture
def folder(tmp_path, demo_data, monkeypatch) -> Path:
    """What the chain leaves; the network of stage 2 adds nothing to its bilinear interpolation."""
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'experiments' / 'both'
    folder.mkdir(parents=True)
    (folder / 'gap.json').write_text(json.dumps({
        'bicubic': {'mmd': 0.25, 'spectrum_db': 9.0},
        'experiments/both_stage1': {'mmd': 0.125, 'spectrum_db': 3.0},
        'real, two halves': {'mmd': 0.0, 'spectrum_db': 1.0},
    }))  # fmt: skip
    (folder / 'commands.txt').write_text('python one.py\npython two.py\n')
    val = {'name': 'mine', 'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'},
           'dataroot_gt': str(demo_data / 'val' / 'gt'), 'dataroot_lq': str(demo_data / 'val' / 'real_x4')}  # fmt: skip
    first = {'name': 'both_stage1', 'datasets': {'val': {'dataroot_gt': 'HR', 'dataroot_real_lq': 'real'}}}
    second = {'name': 'both_stage2', 'scale': 4, 'num_gpu': 0, 'datasets': {'val': val}, 'network_g': NETWORK,
              'path': {}, 'train': {}, 'val': {'metrics': {'psnr': PSNR, 'niqe': NIQE}}}  # fmt: skip
    for number, opt in enumerate((first, second), start=1):
        (folder / f'stage{number}.yml').write_text(yaml_safe.dump(opt))
    experiment = folder.parent / 'both_stage2'
    (experiment / 'models').mkdir(parents=True)
    (experiment / 'both_stage2.yml').write_text(yaml_safe.dump(second))
    net = build_network(NETWORK)
    torch.nn.init.zeros_(net.conv_last.weight)
    torch.save({'params': net.state_dict()}, experiment / 'models' / 'net_g_latest.pth')
    return folder


def interpolated(low: np.ndarray) -> np.ndarray:
    image = torch.from_numpy(low.astype(np.float32) / 255).permute(2, 0, 1)[None]
    large = torch.nn.functional.interpolate(image, scale_factor=4, mode='bilinear', align_corners=False)[0]
    return (large * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)


def test_figures_of_pairs(folder, demo_data):
    assert report.main([str(folder)]) == 0
    found = json.loads((folder / 'report.json').read_text())
    assert list(found['gap']) == ['bicubic', 'stage 1', 'real, two halves']
    expected: dict[str, list] = {'bicubic': [], 'stage 2': []}
    for gt in sorted((demo_data / 'val' / 'gt').iterdir()):
        low = read(demo_data / 'val' / 'real_x4' / gt.name)
        for name, image in (('bicubic', bicubic(low, 4)), ('stage 2', interpolated(low))):
            expected[name].append(measure(image, read(gt), 4, {'psnr': PSNR})['psnr'])
    for name, values in expected.items():
        assert found['super_resolution']['mine'][name]['psnr'] == pytest.approx(np.mean(values), abs=1e-3)
    text = (folder / 'report.md').read_text()
    assert '| stage 1 | 0.125 | 3 |' in text
    assert 'Adapt: ' in text
    assert 'stage 1 closes 67% of it' in text
    assert '|  | psnr ↑ | niqe ↓ |' in text
    assert '`experiments/both_stage2/models/net_g_latest.pth`' in text
    assert 'python one.py\npython two.py\n```' in text
    assert read(folder / 'crops.png').shape[1] == 3 * 230


def test_without_true_images_only_what_needs_none(folder, demo_data):
    opt = yaml_safe.read(folder / 'stage2.yml')
    opt['datasets']['val'] = {'name': 'mine', 'type': 'SingleImageDataset', 'io_backend': {'type': 'disk'},
                              'dataroot_lq': str(demo_data / 'val' / 'real_x4')}  # fmt: skip
    (folder / 'stage2.yml').write_text(yaml_safe.dump(opt))
    assert report.main([str(folder)]) == 0
    found = json.loads((folder / 'report.json').read_text())['super_resolution']['mine']
    assert {name: list(values) for name, values in found.items()} == {'bicubic': ['niqe'], 'stage 2': ['niqe']}
    assert '|  | niqe ↓ |' in (folder / 'report.md').read_text()
    assert read(folder / 'crops.png').shape[1] == 2 * 230
