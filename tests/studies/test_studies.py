"""Each study once, small: it runs, ends with what it is for, and repeats nothing."""

import copy
import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from basicsr.archs import build_network
from finished_experiments import finished_experiment
from narrow_vgg import torchvisions_vgg
from torch.utils.tensorboard import SummaryWriter

from ext_core.options import yaml_safe
from studies import (
    benchmark_step,
    gan_stability,
    mask_study,
    mask_variance,
    option_damage,
    study,
    synthetic_camera,
)
from studies.sameness import difference

PROJECT = Path(__file__).resolve().parents[2]
# The training leaves the fixture's curves and the weights; of a name with the word in the file 'fail' it diverges.
TRAIN = """
import shutil, sys
from pathlib import Path
import yaml

options = Path(sys.argv[sys.argv.index('-opt') + 1])
opt = yaml.safe_load(options.read_text())
root = Path(__file__).parents[1]
assert '--auto_resume' in sys.argv
with open(root / 'trained', 'a') as file:
    print(opt['name'], file=file)
if (root / 'fail').exists() and (root / 'fail').read_text() in opt['name']:
    sys.exit('error: Iteration 3: loss l_g_gan is not finite, so training stops here; checkpoints')
shutil.copytree(root / 'curves', root / 'tb_logger' / opt['name'])
folder = root / 'experiments' / opt['name']
(folder / 'models').mkdir(parents=True, exist_ok=True)
shutil.copy(options, folder / f'{opt["name"]}.yml')
(folder / 'models' / 'net_g_latest.pth').touch()
"""
# PSNR is 20 + 10 k + b + seed, so that every figure is known
EVALUATION = """
import json, sys
from pathlib import Path
import yaml
value = lambda flag: sys.argv[sys.argv.index(flag) + 1]
folder = Path(value('--experiment'))
opt = yaml.safe_load((folder / f'{folder.name}.yml').read_text())
mask = opt['train'].get('mask_opt') or {'k': 0, 'b': 0}
psnr = 20 + 10 * mask['k'] + mask['b'] + opt['manual_seed']
Path(value('--output')).write_text(json.dumps({'Set5': {'psnr': {'a.png': psnr, 'b.png': psnr}}}))
"""


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project whose training and evaluation are short scripts, and an option file with a mask in it."""
    (tmp_path / 'basicsr').mkdir()
    (tmp_path / 'basicsr' / 'train.py').write_text(TRAIN)
    (tmp_path / 'evaluation.py').write_text(EVALUATION)
    for module in (mask_study, gan_stability):
        monkeypatch.setattr(module, 'ROOT', tmp_path)
    monkeypatch.setattr(study, 'EVALUATION', tmp_path / 'evaluation.py')
    monkeypatch.chdir(PROJECT)
    with SummaryWriter(str(tmp_path / 'curves')) as curves:
        for step, norm in ((1, 1.0), (4, 2.0)):
            for tag, value in (('metrics/Set5/psnr', 20.0 + step), ('grad_gan', norm), ('grad_percep', 4.0)):
                curves.add_scalar(tag, value, step)
    recipe = {
        '_base_': str(PROJECT / 'options' / 'train_mask_esrgan.yml'),
        'name': 'gan',
        'datasets': {'train': {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 1}},
        'network_g': {'num_feat': 4, 'num_block': 1, 'num_grow_ch': 4},
        'network_d': {'num_feat': 4},
        'train': {'total_iter': 4, 'perceptual_opt': {'weights': 'random'}, 'pretrain_iters': 0, 'pretrain_opt': None},
        'val': {'val_freq': 4, 'metrics': {'_delete_': True, 'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}},
        'logger': {'print_freq': 1},
    }
    (tmp_path / 'gan.yml').write_text(yaml_safe.dump(recipe))
    return tmp_path


def run(module, root: Path, *arguments: object) -> int:
    fixed = ('-opt', root / 'gan.yml', '--output', root / 'out', '--demo', '--processes', 2)
    return module.main([str(argument) for argument in (*fixed, *arguments)])


def rows(root: Path, name: str) -> list[dict[str, str]]:
    with open(root / 'out' / f'{name}.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_mask_study(root, capsys):
    """Settings that differ in the mask alone, a failure that is repeated alone, and the table over seeds."""
    command = ('--k', 0.2, '--b', 0.25, 0.5, '--seeds', 0, 1)
    assert run(mask_study, root, *command, '--vary', 'window=4') == 1
    assert 'window must be odd' in capsys.readouterr().err
    assert not (root / 'trained').exists()
    (root / 'fail').write_text('b0.5_seed1')
    assert run(mask_study, root, *command) == 1
    assert 'failed: out_demo_gan_k0.2_b0.5_seed1' in capsys.readouterr().err
    (root / 'fail').unlink()
    first = (root / 'trained').read_text().split()
    assert run(mask_study, root, *command) == 0
    assert (root / 'trained').read_text().split()[len(first) :] == ['out_demo_gan_k0.2_b0.5_seed1']
    off, on = (
        yaml_safe.read(root / 'out' / 'runs' / f'out_demo_gan_{name}_seed1' / 'options.yml')
        for name in ('no_mask', 'k0.2_b0.5')
    )
    assert off['train'].pop('mask_opt', None) is None
    mask = on['train'].pop('mask_opt')
    assert (mask['k'], mask['b']) == (0.2, 0.5)
    assert (off.pop('model_type'), on.pop('model_type')) == ('GANSRModel', 'MaskGANModel')
    assert off | {'name': ''} == on | {'name': ''}
    assert [row['psnr'] for row in rows(root, 'results')] == ['20.0', '22.25', '22.5', '21.0', '23.25', '23.5']
    output = capsys.readouterr().out
    assert '| Set5 | demo_gan | k0.2_b0.25 | 2 | 22.7500 ± 0.7071 |' in output
    assert 'at least as good as without mask: psnr 2 of 2' in output


def test_gan_stability(root, capsys):
    (root / 'fail').write_text('seed1')
    assert run(gan_stability, root, '--seeds', 0, 1) == 0  # divergence is a result
    steady, broken = rows(root, 'stability')
    assert [steady[key] for key in ('diverged', 'psnr_last:Set5', 'grad_gan_ratio', 'gan_share_last')] == [
        'no', '24.0', '2.0', '0.5'
    ]  # fmt: skip
    assert [broken[key] for key in ('diverged', 'diverged_at', 'reason')] == ['yes', '3', 'l_g_gan not finite']
    trained = (root / 'trained').read_text()
    assert run(gan_stability, root, '--seeds', 0, 1) == 0
    assert (root / 'trained').read_text() == trained
    assert '| diverged | 1 of 2 |' in capsys.readouterr().out


def test_benchmarks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torchvision.models, 'vgg19', lambda weights: torchvisions_vgg('vgg19'))
    tiny = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 4}
    monkeypatch.setitem(benchmark_step.CASES['compact'], 'network_g', tiny)
    monkeypatch.setitem(benchmark_step.CASES['compact']['network_d'], 'num_feat', 4)
    monkeypatch.setattr(benchmark_step, 'GT_SIZE', 32)
    file = tmp_path / 'figures.json'
    fixed = ['--batch', '1', '--rounds', '2', '--threads', '1', '--json', str(file)]
    benchmark_step.main(['--case', 'compact', '--objective', 'srgan', *fixed])
    steps = json.loads(file.read_text())
    assert [step['variant'] for step in steps] == list(benchmark_step.VARIANTS)
    for one in steps:
        assert 0 < one['quartiles'][0] <= one['median'] <= one['quartiles'][1]
    assert 'ours, bf16' in capsys.readouterr().out


def test_option_damage():
    file = 'options/train_srresnet.yml'
    with option_damage.prepared([file]) as home:
        result = option_damage.damage_file(file, file, 3, 3, home)
    assert result['failures'] == []
    assert sum(result['counts'].values()) == 3
    assert result['counts']['refused'] > 1


@pytest.mark.parametrize('sign', [1, -1])
def test_mask_variance(sign):
    """Squares of 3 px whose contrast and error rise or fall together; the border has neither."""
    pattern = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    strengths = np.arange(1, 13).reshape(3, 4)
    hr = np.pad(np.kron(strengths, pattern), 2)[..., None].repeat(3, axis=2)
    error = np.kron(strengths[::sign, ::sign], np.ones((3, 3)))
    sr = hr + np.pad(error, 2, constant_values=99)[..., None]
    assert mask_variance.correlation(sr, hr, 3, 2) == pytest.approx(sign)


def test_a_synthetic_camera_is_as_it_says(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder in ('hr', 'val'):
        (tmp_path / folder).mkdir()
        for number in range(4 if folder == 'hr' else 1):
            image = cv2.GaussianBlur(rng.uniform(0, 255, (300, 320, 3)), (0, 0), 1.0)
            cv2.imwrite(str(tmp_path / folder / f'{number}.png'), image.astype(np.uint8))
        cv2.imwrite(str(tmp_path / folder / '9.png'), np.full((300, 300, 3), 128, np.uint8))
    places = [f'--{name}={tmp_path / name}' for name in ('hr', 'val')]
    synthetic_camera.main([*places, f'--output={tmp_path / "out"}'])
    made = {str(file.relative_to(tmp_path / 'out')) for file in (tmp_path / 'out').rglob('*.png')}
    assert {'HR/0.png', 'LR_true/0.png', 'LR_camera_val/1.png', 'LR_camera/3.png', 'val/LR/9.png'} <= made
    flat = cv2.imread(str(tmp_path / 'out' / 'val' / 'LR' / '9.png'))
    assert flat.shape == (100, 100, 3)
    assert flat.std() == pytest.approx((9 + 25 * 128 / 255) ** 0.5, rel=0.03)
    network = {'type': 'DSGANGenerator', 'num_feat': 4, 'num_block': 1}
    net = build_network(network)
    torch.nn.init.zeros_(net.tail.weight)
    folder = finished_experiment(tmp_path / 'stage1', network, net, scale=3)
    synthetic_camera.main([f'--measure={folder}', places[1], '--noise', '3', '5'])
    assert 'noise   at 50% 4.64 levels, the camera has 4.64 (+0%)' in capsys.readouterr().out


def test_checkpoints_differ_where_a_bit_a_type_or_a_key_does():
    """What all tests of exact resuming compare with."""
    same = {'weight': torch.tensor([1.0, math.nan]), 'best': [math.nan, 4]}
    assert difference(same, copy.deepcopy(same)) is None
    for other, place in (
        ({**same, 'weight': torch.tensor([1.0 + 2**-23, math.nan])}, '/weight'),
        ({**same, 'weight': torch.tensor([1.0, 0.0])}, '/weight'),
        ({**same, 'weight': same['weight'].double()}, '/weight'),
        ({**same, 'best': [math.nan, 4.0]}, '/best/1'),
        ({**same, 'iter': 4}, '/iter'),
    ):
        assert difference(same, other) == difference(other, same) == place
