"""The whole chain with fake commands: what is run with which options, what is repeated, what is refused."""

import copy
import sys
from pathlib import Path

import cv2
import pytest
from script_loader import load_script

from ext_core.errors import UserError
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.use import adaptation_options
from ext_core.use.adaptation import plan
from ext_data.preparation.demo import ensure_demo_data
from ext_data.preparation.lmdb_writer import Entry, write_lmdb

PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = PROJECT / 'options' / 'train_domain_adaptation.yml'
FAKE = """
import os, shutil, sys
from pathlib import Path
root, value = Path(__file__).parents[1], lambda flag: sys.argv[sys.argv.index(flag) + 1]
name = Path(value('-opt')).stem if '-opt' in sys.argv else Path(sys.argv[0]).stem
with open(root / 'ran', 'a') as file:
    print(name, file=file)

if name.startswith('stage'):
    assert '--auto_resume' in sys.argv
    experiment = root / 'experiments' / f'tiny_{name}'
    (experiment / 'models').mkdir(parents=True, exist_ok=True)
    shutil.copy(value('-opt'), experiment / f'tiny_{name}.yml')
    product = experiment / 'models' / 'net_g_latest.pth'
elif name == 'synthesize_lr':
    product = Path(value('--output') + '.json')
else:
    product = Path(value('--json')) if name == 'domain_gap' else Path(sys.argv[1]) / 'report.md'
product.write_text(' '.join(sys.argv))
"""
ALL = ['stage1', 'synthesize_lr', 'stage2', 'domain_gap', 'adaptation_report']
script = load_script('train_domain_adaptation')


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data')
    ensure_demo_data(root, 2)
    return ensure_demo_data(root, 4)


@pytest.fixture
def root(tmp_path, data, monkeypatch) -> Path:
    """A project whose commands are fakes."""
    scripts = ('synthesize_lr', 'domain_gap', 'adaptation_report')
    for name in ('basicsr/train.py', *(f'scripts/{script}.py' for script in scripts)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(FAKE)
    (tmp_path / 'data').symlink_to(data)
    monkeypatch.setattr(script, 'ROOT', tmp_path)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    for variable in ('RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


TINY: dict = {
    'name': 'tiny',
    'stage1': str(PROJECT / 'options' / 'train_da_stage1.yml'),
    'stage2': str(PROJECT / 'options' / 'train_da_stage2.yml'),
    'hr': 'data/train/gt.lmdb',
    'real_lq': 'data/train/real_x4.lmdb',
    'val_lq': 'data/val/real_x4',
    'val_gt': 'data/val/gt',
    'shared': {'train': {'perceptual_opt': {'weights': 'random'}}, 'datasets': {'train': {'gt_size': 128}}},
    'stage2_options': {'val': {'metrics': {'lpips': {'optional': True}}}},
}


def write(root: Path, **changes) -> Path:
    path = root / 'tiny.yml'
    path.write_text(yaml_safe.dump(options.merge(TINY, changes)))
    return path


def run(path: Path, *arguments: str) -> int:
    return script.main(['-opt', str(path), *arguments])


def ran(root: Path) -> list[str]:
    """What has run since the last call."""
    file = root / 'ran'
    names = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return names


def write_lmdb_of(folder: Path) -> None:
    entries = [Entry(path, *cv2.imread(str(path)).shape[:2]) for path in sorted(folder.iterdir())]
    write_lmdb(folder.with_suffix('.lmdb'), entries)


# ---------------------------------------------------------------------- what is run
def test_all_parts_in_order_and_nothing_twice(root, capsys):
    path = write(root)
    assert run(path) == 0
    assert ran(root) == ALL
    folder = root / 'experiments' / 'tiny'
    assert (folder / 'commands.txt').read_text().splitlines() == [
        'python basicsr/train.py -opt experiments/tiny/stage1.yml --auto_resume',
        'python scripts/synthesize_lr.py --experiment experiments/tiny_stage1 --hr data/train/gt.lmdb '
        '--output experiments/tiny/LR.lmdb',
        'python basicsr/train.py -opt experiments/tiny/stage2.yml --auto_resume',
        'python scripts/domain_gap.py --hr data/val/gt --real data/val/real_x4 --experiment experiments/tiny_stage1 '
        '--json experiments/tiny/gap.json --output experiments/tiny/gap.png',
        'python scripts/adaptation_report.py experiments/tiny',
    ]
    assert '[5/5] report finished' in capsys.readouterr().out
    assert run(path) == 0
    assert ran(root) == []
    assert 'all is done already' in capsys.readouterr().out


def test_changes_repeat_what_depends_on_them_or_are_refused(root, capsys):
    """Stage 2 of another stage 1 is not continued, though its own options are the same."""
    assert run(write(root)) == 0
    ran(root)
    assert run(write(root, stage2_options={'val': {'metrics': {'psnr': {'crop_border': 2}}}})) == 0
    assert ran(root) == ['adaptation_report']
    assert run(write(root, stage2_options={'train': {'total_iter': 7}})) == 1
    assert 'tiny_stage2 holds a training with other options (train:total_iter)' in capsys.readouterr().err
    (root / 'experiments' / 'tiny_stage2').rename(root / 'elsewhere')
    assert run(write(root, stage2_options={'train': {'total_iter': 7}})) == 0
    assert ran(root) == ['stage2', 'domain_gap', 'adaptation_report']
    (root / 'experiments' / 'tiny_stage1').rename(root / 'elsewhere1')
    changes = {'stage1_options': {'train': {'mmd_opt': {'loss_weight': 0.5}}}}
    assert run(write(root, stage2_options={'train': {'total_iter': 7}}, **changes)) == 1
    assert 'tiny_stage2 was trained after a stage 1 with other options' in capsys.readouterr().err


def test_under_torchrun_trainings_are_distributed(root):
    job, files = plan(root, write(root), torchrun=4)
    commands = {step.name: list(step.command) for step in job.steps}
    assert commands['stage 1'][-2:] == commands['stage 2'][-2:] == ['--launcher', 'pytorch']
    group = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=4']
    assert [name for name, words in commands.items() if words[:4] == group] == ['stage 1', 'hand-over', 'stage 2']
    lines = files['commands.txt'].splitlines()
    assert [line.split(' ')[:2] for line in lines[:3]] == [['torchrun', '--nproc_per_node=4']] * 3
    assert [line.split(' ')[0] for line in lines[3:]] == ['python'] * 2


def test_of_torchruns_processes_only_the_first_works_and_on_one_machine(root, monkeypatch, capsys):
    path = write(root)
    for variables, status in ({'RANK': '1', 'WORLD_SIZE': '2'}, 0), ({'RANK': '0', 'LOCAL_WORLD_SIZE': '1'}, 1):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert run(path) == status
    assert 'on several machines' in capsys.readouterr().err
    assert ran(root) == []


# ---------------------------------------------------------------------- options of the stages
def stages(path: Path, **arguments) -> tuple[dict, dict]:
    _, files = plan(path.parent, path, **arguments)
    return yaml_safe.parse(files['stage1.yml']), yaml_safe.parse(files['stage2.yml'])


def test_shipped_file_is_the_two_recipes(root):
    """But for names and where the pairs are written."""
    opt = adaptation_options.load(SHIPPED)
    first = adaptation_options.stage_options(opt, 1, demo=False)
    second = adaptation_options.stage_options(opt, 2, demo=False)
    for number, ours in enumerate((first, second), start=1):
        recipe = options.load(PROJECT / 'options' / f'train_da_stage{number}.yml')
        assert ours.pop('name') == f'train_domain_adaptation_stage{number}'
        del recipe['name']
        for phase in ('train', 'val'):
            for part in (ours, recipe):
                del part['datasets'][phase]['name']
        if number == 2:
            for part in (ours, recipe):
                for key in ('type', 'dataroot_gt', 'dataroot_lq'):  # which the hand-over gives
                    part['datasets']['train'].pop(key, None)
        assert ours == recipe


def test_images_stand_in_both_stages(root):
    twice = write(root, scale=2, real_lq='data/train/real_x2.lmdb', val_lq='data/val/real_x2')
    assert [(stage['scale'], stage['network_g']['scale']) for stage in stages(twice)] == [(2, 2)] * 2
    first, second = stages(write(root, val_hr='data/val/lq_x2'))
    assert first['datasets']['train']['dataroot_gt'] == 'data/train/gt.lmdb'
    assert first['datasets']['train']['dataroot_real_lq'] == 'data/train/real_x4.lmdb'
    assert first['datasets']['val']['dataroot_gt'] == 'data/val/lq_x2'
    assert first['datasets']['val']['io_backend'] == {'type': 'disk'}
    train, val = second['datasets']['train'], second['datasets']['val']
    assert (train['type'], train['dataroot_gt']) == ('PairedImageDataset', 'data/train/gt.lmdb')
    assert train['dataroot_lq'] == 'experiments/tiny/LR.lmdb'
    assert train['io_backend'] == {'type': 'lmdb'}
    assert (val['dataroot_gt'], val['dataroot_lq']) == ('data/val/gt', 'data/val/real_x4')


def test_hr_images_in_a_folder_get_an_lmdb(root):
    shared = {'datasets': {'train': {'dataset_enlarge_ratio': 3}}}
    path = write(root, hr='data/val/gt', real_lq='data/val/real_x4', shared=shared)
    command = list(plan(root, path)[0].steps[1].command)
    assert command[-2:] == ['--output-hr', 'experiments/tiny/HR.lmdb']
    train = stages(path)[1]['datasets']['train']
    assert (train['dataroot_gt'], train['io_backend']) == ('experiments/tiny/HR.lmdb', {'type': 'lmdb'})


def test_without_true_images_stage_2_has_niqe(root):
    first, second = stages(write(root, val_gt=None, val_hr='data/val/gt'))
    assert second['datasets']['val'] == {
        'name': 'real_x4', 'type': 'SingleImageDataset', 'dataroot_lq': 'data/val/real_x4',
        'io_backend': {'type': 'disk'},
    }  # fmt: skip
    assert list(second['val']['metrics']) == ['niqe']
    assert first['datasets']['val']['dataroot_gt'] == 'data/val/gt'


def test_on_the_fly(root):
    path = write(root, hand_over='on_the_fly')
    first, second = stages(path)
    weights = 'experiments/tiny_stage1/models/net_g_latest.pth'
    assert second['degrade'] == {**first['network_g'], 'weights': weights}
    assert second['datasets']['train']['type'] == 'HRImageDataset'
    assert 'dataroot_lq' not in second['datasets']['train']
    assert run(path) == 0
    assert ran(root) == [name for name in ALL if name != 'synthesize_lr']


@pytest.mark.parametrize(('hand_over', 'kind'), [('lmdb', 'Pairs'), ('on_the_fly', 'DegradationNet')])
def test_noise_of_the_camera_reaches_both_stages_and_more_may_be_added(root, hand_over, kind):
    first, second = stages(write(root, hand_over=hand_over, noise=[2.5, 4]))
    assert (first['train']['noise'], first['train']['shot_noise']) == (2.5, 4)
    degrade = second['degrade']
    assert [degrade[key] for key in ('type', 'noise', 'shot_noise')] == [kind, [2.5, 2.5], [4, 4]]
    second = stages(write(root, hand_over=hand_over, stage2_options={'degrade': {'noise': [0, 2]}}))[1]
    assert (second['degrade']['type'], second['degrade']['noise']) == (kind, [0, 2])


def test_hr_images_of_several_places_with_weights(root):
    sources = ['data/train/gt.lmdb', 'data/val/gt.lmdb']
    write_lmdb_of(root / 'data' / 'val' / 'gt')
    shared = options.merge(TINY['shared'], {'datasets': {'train': {'dataset_enlarge_ratio': 9}}})
    path = write(root, hr=sources, hr_weights=[3, 1], shared=shared)
    first, second = stages(path)
    assert first['datasets']['train']['dataroot_gt'] == sources
    assert first['datasets']['train']['dataroot_weights'] == [3, 1]
    train = second['datasets']['train']
    assert (train['type'], train['dataroot_weights']) == ('ExtPairedImageDataset', [3, 1])
    assert train['dataroot_lq'] == ['experiments/tiny/LR.lmdb', 'experiments/tiny/LR2.lmdb']
    assert len(train['dataroot_gt']) == 2
    assert run(path) == 0
    assert ran(root) == ['stage1', 'synthesize_lr', 'synthesize_lr', *ALL[2:]]


def test_demo_is_small_and_of_real_pairs(root):
    small = write(root, stage1_options={'train': {'perceptual_opt': {'weights': 'random'}}})
    first, second = stages(small, demo=True)
    assert (first['name'], second['name']) == ('demo_tiny_stage1', 'demo_tiny_stage2')
    assert max(stage['train']['total_iter'] for stage in (first, second)) <= 100
    assert second['datasets']['val']['dataroot_lq'] == 'datasets/demo/val/real_x4'
    assert second['datasets']['train']['dataroot_lq'] == 'experiments/demo_tiny/LR.lmdb'
    assert second['network_g']['upscale'] == second['scale'] == 4


# ---------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'val_qt': 'x'}, "unknown key val_qt. Did you mean 'val_"),
        ({'datasets': {'train': {}}}, 'unknown key datasets. What belongs to a recipe goes into shared'),
        ({'hr': 3}, 'hr must be a folder or LMDB, or a list of them, but is 3'),
        ({'noise': 3}, 'noise must be two numbers from 0 on'),
        ({'noise': ['2.5', 4]}, 'noise must be two numbers from 0 on'),
        ({'hr_weights': [1, 2]}, 'hr_weights must have a number for each place of hr'),
        ({'hand_over': 'disk'}, "hand_over must be lmdb or on_the_fly, but is 'disk'"),
        ({'real_lq': 'data/val/real_x4'}, 'hr .* and real_lq .* must both be folders'),
        ({'stage2_options': {'scale': 2, 'network_g': {'scale': 2}}}, 'stage 1 has scale 4, stage 2 2'),
        ({'stage2_options': {'train': {'totl_iter': 5}}}, 'stage 2: train:totl_iter: unknown key'),
        ({'hr': 'data/none.lmdb'}, 'stage 1: datasets:train:dataroot_gt'),
        ({'hand_over': 'on_the_fly', 'stage2_options': {'model_type': 'SRModel'}}, 'SRModel of stage 2 cannot'),
    ],
)
def test_wrong_options_are_named_before_anything_is_made(root, changes, message):
    opt = copy.deepcopy(TINY)
    opt.update({key: value for key, value in changes.items() if key not in ('stage2_options',)})
    opt['stage2_options'] = options.merge(TINY['stage2_options'], changes.get('stage2_options', {}))
    path = root / 'tiny.yml'
    path.write_text(yaml_safe.dump(opt))
    with pytest.raises(UserError, match=message):
        plan(root, path)
    assert not (root / 'experiments').exists()


def test_overrides_are_of_keys_that_are_there(root):
    overridden = adaptation_options.load(write(root), ['name=other', 'shared:datasets:train:gt_size=64'])
    assert (overridden['name'], overridden['shared']['datasets']['train']['gt_size']) == ('other', 64)
    with pytest.raises(UserError, match='no key'):
        adaptation_options.load(write(root), ['train:total_iter=3'])
