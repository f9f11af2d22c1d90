"""The ablation with a fake training and a fake evaluation; which settings are trained, repeated, refused, reported."""

import csv
import json
from pathlib import Path

import pytest
from fake_project import fake_project

from ext_core.options import yaml_safe
from ext_data.preparation.demo import ensure_demo_data
from studies import mask_study as study
from studies import study as runs_of

TRAIN = """
import shutil, sys
from pathlib import Path
import yaml
options = Path(sys.argv[sys.argv.index('-opt') + 1])
opt = yaml.safe_load(options.read_text())
assert '--auto_resume' in sys.argv
root = Path(__file__).parents[1]
with open(root / 'trained', 'a') as file:
    print(opt['name'], file=file)
if (root / 'fail').exists() and (root / 'fail').read_text() in opt['name']:
    sys.exit('error: the fake training fails')
folder = root / 'experiments' / opt['name']
(folder / 'models').mkdir(parents=True, exist_ok=True)
shutil.copy(options, folder / f'{opt["name"]}.yml')
(folder / 'models' / 'net_g_latest.pth').touch()
"""
# PSNR is 20 + 10 k + b + seed on both images, so that every figure is known; NIQE is missing on one
EVALUATION = """
import json, sys
from pathlib import Path
import yaml
value = lambda flag: sys.argv[sys.argv.index(flag) + 1]
folder = Path(value('--experiment'))
opt = yaml.safe_load((folder / f'{folder.name}.yml').read_text())
mask = opt['train'].get('mask_opt') or {'k': 0, 'b': 0}
psnr = 20 + 10 * mask['k'] + mask['b'] + opt['manual_seed']
metrics = {'psnr': {'a.png': psnr, 'b.png': psnr}, 'niqe': {'a.png': 5.0, 'b.png': None}}
results = {name: {m: metrics[m] for m in json.loads(value('--metrics'))} for name in (value('--set').split('=')[0],)}
Path(value('--output')).write_text(json.dumps(results))
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    return ensure_demo_data(tmp_path_factory.mktemp('data'))


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project with a fake ``basicsr/train.py``."""
    fake_project(tmp_path, monkeypatch, study, TRAIN, EVALUATION)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def recipe(root, data) -> Path:
    return write_recipe(root, data, 'tiny', mask_opt={'type': 'ErrorMask', 'k': 0.3, 'b': 0.5, 'window': 5})


def write_recipe(root: Path, data: Path, name: str, **train) -> Path:
    """A masked recipe in which everything is small."""
    adam = {'type': 'Adam', 'lr': 1e-4}
    pairs = {'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}}
    pairs.update(dataroot_gt=str(data / 'val' / 'gt'), dataroot_lq=str(data / 'val' / 'lq_x4'))
    opt = {
        'name': name,
        'model_type': 'MaskGANModel' if train.get('mask_opt') else 'GANSRModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 7,
        'datasets': {
            'train': {'name': 'demo', **pairs, 'gt_size': 128, 'use_hflip': True, 'use_rot': True,
                      'num_worker_per_gpu': 0, 'batch_size_per_gpu': 1, 'dataset_enlarge_ratio': 1},
            'val': {'name': 'demo', **pairs},
        },
        'network_g': {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 4},
        'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 2},
        'path': {},
        'train': {'optim_g': adam, 'optim_d': adam, 'total_iter': 4, 'warmup_iter': -1,
                  'scheduler': {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5},
                  'pixel_opt': {'type': 'L1Loss'}, 'gan_opt': {'type': 'AdversarialLoss', 'gan_type': 'vanilla'},
                  **train},
        'val': {'val_freq': 4, 'save_img': False, 'metrics': {
            'psnr': {'type': 'calculate_psnr', 'crop_border': 4},
            'niqe': {'type': 'calculate_niqe', 'crop_border': 4, 'better': 'lower'}}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 4, 'use_tb_logger': False},
    }  # fmt: skip
    path = root / f'{name}.yml'
    path.write_text(yaml_safe.dump(opt))
    return path


def run(*arguments: object) -> int:
    return study.main([str(argument) for argument in ('--output', 'out', '--processes', 2, *arguments)])


def trained(root: Path) -> list[str]:
    return sorted((root / 'trained').read_text().split())


def rows(root: Path) -> list[dict[str, str]]:
    with open(root / 'out' / 'results.csv', newline='') as file:
        return list(csv.DictReader(file))


def written(root: Path, name: str) -> dict:
    return yaml_safe.read(root / 'out' / 'runs' / name / 'options.yml')


def test_default_is_figure_5_with_three_seeds():
    args = study.parse(['-opt', 'x.yml', '--output', 'out'])
    settings = study.settings_of(args)
    assert list(settings)[:3] == ['no_mask', 'k0.1_b0.25', 'k0.1_b0.5']
    grid = ({'k': k, 'b': b} for k in (0.1, 0.2, 0.4) for b in (0.25, 0.5, 0.75))
    assert list(settings.values()) == [None, *grid]
    assert args.seeds == [0, 1, 2]


def test_readings_vary_at_the_papers_k_and_b():
    args = study.parse(['-opt', 'x', '--output', 'out', '--vary', 'error_norm=none,mean', 'detach=true,false'])
    settings = study.settings_of(args)
    assert len(settings) == 5
    assert list(settings.values())[1] == {'k': 0.2, 'b': 0.5, 'error_norm': 'none', 'detach': True}
    assert list(settings)[-1] == 'k0.2_b0.5_error_norm-mean_detach-False'
    args.k = [0.1, 0.4]
    assert len(study.settings_of(args)) == 9


def test_runs_rows_and_table(root, recipe, capsys):
    figures = root / 'figures.json'
    assert run('-opt', recipe, '--k', 0.2, '--b', 0.25, 0.5, '--seeds', 0, 1, '--json', figures) == 0
    assert trained(root) == sorted(
        f'out_tiny_{setting}_seed{seed}' for setting in ('no_mask', 'k0.2_b0.25', 'k0.2_b0.5') for seed in (0, 1)
    )
    first, *_, last = rows(root)
    assert list(first) == ['recipe', 'setting', 'k', 'b', 'window', 'seed', 'set', 'psnr', 'niqe', 'iterations',
                           'seconds', 'options']  # fmt: skip
    assert [first[key] for key in list(first)[:10]] == ['tiny', 'no_mask', '', '', '', '0', 'demo', '20.0', '5.0', '4']
    assert [last[key] for key in ('k', 'b', 'window', 'seed', 'psnr')] == ['0.2', '0.5', '5', '1', '23.5']
    assert len({row['options'] for row in rows(root)}) == 6
    output = capsys.readouterr().out
    assert '| demo | tiny | k0.2_b0.25 | 2 | 22.7500 ± 0.7071 | 5.0000 ± 0.0000 |' in output
    assert 'at least as good as without mask: psnr 2 of 2, niqe 2 of 2' in output
    assert (root / 'out' / 'results.png').is_file()
    assert len(json.loads(figures.read_text())['rows']) == 6


def test_settings_differ_in_the_mask_only(root, recipe):
    run('-opt', recipe, '--k', 0.2, '--b', 0.25, '--seeds', 3, '--set', 'train:mask_opt:apply_to=fake',
        'train:total_iter=6')  # fmt: skip
    off, on = written(root, 'out_tiny_no_mask_seed3'), written(root, 'out_tiny_k0.2_b0.25_seed3')
    assert off['train'].pop('mask_opt') is None
    mask = {'type': 'ErrorMask', 'window': 5, 'apply_to': 'fake', 'k': 0.2, 'b': 0.25}
    assert on['train'].pop('mask_opt') == mask
    assert (off.pop('name'), on.pop('name')) == ('out_tiny_no_mask_seed3', 'out_tiny_k0.2_b0.25_seed3')
    # GANSRModel with a mask is MaskGANModel, which refuses to run without
    assert (off.pop('model_type'), on.pop('model_type')) == ('GANSRModel', 'MaskGANModel')
    assert off == on
    assert (on['manual_seed'], on['train']['total_iter']) == (3, 6)


def test_repeated_command_runs_only_what_failed(root, recipe, capsys):
    (root / 'fail').write_text('b0.5')
    command = ('-opt', recipe, '--k', 0.2, '--b', 0.25, 0.5, '--seeds', 0)
    assert run(*command) == 1
    captured = capsys.readouterr()
    assert 'the fake training fails' in captured.out
    assert 'failed: out_tiny_k0.2_b0.5_seed0' in captured.err
    assert [row['setting'] for row in rows(root)] == ['no_mask', 'k0.2_b0.25']
    (root / 'fail').unlink()
    (root / 'trained').unlink()
    assert run(*command) == 0
    assert trained(root) == ['out_tiny_k0.2_b0.5_seed0']
    assert len(rows(root)) == 3
    (root / 'trained').unlink()
    assert run(*command) == 0
    assert not (root / 'trained').exists()
    assert '| k0.2_b0.5 |' in capsys.readouterr().out


def test_other_test_sets_do_not_train_again(root, recipe, data):
    command = ('-opt', recipe, '--k', 0.2, '--b', 0.5, '--seeds', 0)
    run(*command)
    (root / 'trained').unlink()
    assert run(*command, '--test', f'Set5={data / "val" / "gt"}:{data / "val" / "lq_x4"}') == 0
    assert not (root / 'trained').exists()
    assert {row['set'] for row in rows(root)} == {'Set5'}


def test_other_options_under_the_same_name_are_refused(root, recipe, capsys):
    command = ('-opt', recipe, '--k', 0.2, '--b', 0.5, '--seeds', 0)
    run(*command)
    before = (root / 'trained').read_text()
    assert run(*command, '--set', 'train:total_iter=8', 'val:val_freq=2') == 1
    message = capsys.readouterr().err
    assert 'other options (train:total_iter)' in message  # validation does not change the weights
    assert (root / 'trained').read_text() == before


def test_recipes_as_they_are(root, recipe, data, capsys):
    plain = write_recipe(root, data, 'plain')
    assert run('--as-is', '-opt', plain, recipe, '--seeds', 0, 1, '--set', 'train:total_iter=5') == 0
    assert trained(root) == sorted(f'out_{name}_seed{seed}' for name in ('plain', 'tiny') for seed in (0, 1))
    assert written(root, 'out_plain_seed1')['train'].get('mask_opt') is None
    assert written(root, 'out_tiny_seed1')['train']['mask_opt'] == {
        'type': 'ErrorMask',
        'k': 0.3,
        'b': 0.5,
        'window': 5,
    }
    assert [(row['recipe'], row['k'], row['psnr']) for row in rows(root) if row['seed'] == '0'] == [
        ('plain', '', '20.0'),
        ('tiny', '0.3', '23.5'),
    ]
    assert '| demo | tiny | as_is | 2 | 24.0000 ± 0.7071 |' in capsys.readouterr().out


def test_metric_that_cannot_be_computed_is_left_out(root, recipe, monkeypatch, capsys):
    def usable(metrics):
        return {'psnr': metrics['psnr']}, {'niqe': 'its weights are missing'}

    monkeypatch.setattr(runs_of.evaluation, 'usable_metrics', usable)
    assert run('-opt', recipe, '--k', 0.2, '--b', 0.5, '--seeds', 0) == 0
    assert 'niqe is left out. its weights are missing' in capsys.readouterr().err
    assert 'niqe' not in rows(root)[0]
    assert list(written(root, 'out_tiny_no_mask_seed0')['val']['metrics']) == ['psnr']  # training would refuse it


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--k', 0.2, 0.2], 'each value and seed once'),
        (['--vary', 'window=4'], 'window must be odd'),
        (['--vary', 'windw=7'], 'windw'),
        (['--vary', 'window'], 'expected OPTION=VALUE'),
        (['--as-is', '--k', 0.2], 'leave out --k'),
        (['--test', 'Set5=none:none'], 'no pairs'),
        (['--set', 'train:optim_g:type=Adamm'], 'Adamm'),
        (['--set', 'train:total_itr=4'], 'total_iter'),
    ],
)
def test_mistakes_are_explained_before_the_first_run(root, recipe, arguments, message, capsys):
    assert run('-opt', recipe, *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (root / 'trained').exists()


@pytest.mark.parametrize('value', ['0', '-1', 'two'])
def test_processes_are_counted_from_one(value, capsys):
    with pytest.raises(SystemExit):
        study.parse(['-opt', 'x', '--output', 'out', '--processes', value])
    assert 'whole number from 1' in capsys.readouterr().err
