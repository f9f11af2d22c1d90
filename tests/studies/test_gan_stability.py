"""The study of stability with a fake training whose curves are known, and once with the real one."""

import csv
import json
import signal
from pathlib import Path

import pytest
from fake_project import fake_project

from ext_core.networks.records import read_curves
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from studies import gan_stability as study
from studies import study as runs_of

PROJECT = Path(__file__).resolve().parents[2]

# Curves, without torch so that it is quick: PSNR 20 + seed, then one more; a gradient that doubles. What the file 'act'
# says happens in the middle, unless the training is resumed.
TRAIN = """
import os, shutil, sys, time
from pathlib import Path
import yaml
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

options = Path(sys.argv[sys.argv.index('-opt') + 1])
opt = yaml.safe_load(options.read_text())
root = Path(__file__).parents[1]
assert '--auto_resume' in sys.argv and opt['logger']['use_tb_logger']
with open(root / 'trained', 'a') as file:
    print(opt['name'], file=file)
experiment = root / 'experiments' / opt['name']
writer = EventFileWriter(str(root / 'tb_logger' / opt['name']))
print('environment ' * 20, flush=True)

def log(step, **values):
    summary = Summary(value=[Summary.Value(tag=tag.replace('__', '/'), simple_value=v) for tag, v in values.items()])
    writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

gan = {'grad_gan': 1.0, 'grad_percep': 4.0} if 'gan_opt' in opt['train'] else {}
act = root / 'act'
resumed = (experiment / 'saved').exists()
if not resumed:
    log(1, metrics__Set5__psnr=20.0 + opt['manual_seed'], losses__l_g_percep=0.5, **gan)
    log(2, metrics__Set5__psnr=5.0)  # of what was not saved, written again by the resumed run
    what, _, which = act.read_text().partition(' ') if act.exists() else ('', '', '')
    if what and which in opt['name']:
        writer.close()
        if what == 'explode':
            sys.exit('error: Iteration 3: loss l_g_gan is not finite, so training stops here; checkpoints')
        if what == 'fail':
            sys.exit('error: no memory')
        experiment.mkdir(parents=True)
        (experiment / 'saved').touch()
        os.kill(os.getppid(), 15)
        time.sleep(60)
log(2, metrics__Set5__psnr=20.0 + opt['manual_seed'])
log(4, metrics__Set5__psnr=21.0 + opt['manual_seed'], losses__l_g_percep=0.5, **{k: 2 * v for k, v in gan.items()})
writer.close()
(experiment / 'models').mkdir(parents=True, exist_ok=True)
shutil.copy(options, experiment / f'{opt["name"]}.yml')
(experiment / 'models' / 'net_g_latest.pth').touch()
"""
EVALUATION = """
import json, sys
from pathlib import Path
value = lambda flag: sys.argv[sys.argv.index(flag) + 1]
seed = float(value('--experiment')[-1])
Path(value('--output')).write_text(json.dumps({'Set5': {'psnr': {'a.png': 30.0 + seed}}}))
"""
REAL_TRAIN = """
import sys
from pathlib import Path
from ext_core.launch import train
if __name__ == '__main__':
    sys.exit(train(Path(__file__).resolve().parents[1]))
"""


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project with a fake ``basicsr/train.py``, working where the demo's photographs are."""
    fake_project(tmp_path, monkeypatch, study, TRAIN, EVALUATION)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.chdir(PROJECT)
    return tmp_path


def shrunk(root: Path, recipe: str, name: str, **train) -> Path:
    """An option file that inherits a recipe and takes four iterations of a tiny network."""
    opt = options.load(PROJECT / 'options' / f'{recipe}.yml')
    psnr = {'type': 'calculate_psnr', 'crop_border': 4}
    small: dict = {
        '_base_': str(PROJECT / 'options' / f'{recipe}.yml'),
        'name': name,
        'datasets': {'train': {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 1}},
        'network_g': {'num_feat': 4, 'num_block': 1, 'num_grow_ch': 4},
        'train': {'total_iter': 4, **train},
        'val': {'val_freq': 2, 'save_img': False, 'metrics': {'_delete_': True, 'psnr': psnr}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 100, 'use_tb_logger': False},
    }
    if 'network_d' in opt:
        small['network_d'] = {'num_feat': 4}
        small['train'] = {'perceptual_opt': {'weights': 'random'}, 'pretrain_iters': 0, 'pretrain_opt': None} | small[
            'train'
        ]
    file = root / f'{name}.yml'
    file.write_text(yaml_safe.dump(small))
    return file


@pytest.fixture
def gan(root) -> Path:
    return shrunk(root, 'train_esrgan', 'gan')


@pytest.fixture
def plain(root) -> Path:
    return shrunk(root, 'train_rrdb_psnr', 'plain')


def run(root: Path, *arguments: object) -> int:
    fixed = ('--output', root / 'out', '--demo', '--processes', 2)
    return study.main([str(argument) for argument in (*fixed, *arguments)])


def trained(root: Path) -> list[str]:
    return sorted((root / 'trained').read_text().split()) if (root / 'trained').exists() else []


def rows(root: Path, name: str = 'stability') -> list[dict[str, str]]:
    with open(root / 'out' / f'{name}.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_rows_tables_and_plot(root, gan, plain, capsys):
    figures = root / 'figures.json'
    assert run(root, '-opt', gan, plain, '--seeds', 0, 1, '--json', figures) == 0
    first, second, *_ = rows(root)
    first.pop('options'), first.pop('seconds')
    assert first == {
        'recipe': 'demo_gan', 'seed': '0', 'diverged': 'no', 'diverged_at': '', 'reason': '', 'psnr_last:Set5': '21.0',
        'psnr_std:Set5': '', 'psnr_best_minus_last:Set5': '0.0', 'grad_gan_first': '1.0', 'grad_gan_last': '2.0',
        'grad_gan_ratio': '2.0', 'grad_gan_cv': '', 'gan_share_first': '0.25', 'gan_share_last': '0.25',
        'gan_share_ratio': '1.0', 'gan_share_cv': '', 'iterations': '4'
    }  # fmt: skip
    assert (second['recipe'], second['seed'], second['grad_gan_first']) == ('demo_plain', '0', '')
    assert [row['psnr'] for row in rows(root, 'results')] == ['30.0', '30.0', '31.0', '31.0']
    output = capsys.readouterr().out
    assert '|  | demo_gan | demo_plain |\n' in output
    assert '| diverged | 0 of 2 | 0 of 2 |\n' in output
    assert '| grad_gan_ratio | 2 ± 0 | – |\n' in output
    assert '| psnr_last:Set5 | 21.5 ± 0.71 | 21.5 ± 0.71 |\n' in output
    assert '| Set5 | demo_gan | as_is | 2 | 30.5000 ± 0.7071 |\n' in output
    assert (root / 'out' / 'stability.png').is_file()
    content = json.loads(figures.read_text())
    assert [entry['divergence_rate'] for entry in content['summary']] == [0.0, 0.0]
    assert len(content['rows']) == 4


def test_divergence_is_a_result_that_is_not_repeated(root, gan, plain, capsys):
    (root / 'act').write_text('explode gan_seed1')
    command = ('-opt', gan, plain, '--seeds', 0, 1)
    assert run(root, *command) == 0
    (row,) = (row for row in rows(root) if row['diverged'] == 'yes')
    assert [row[key] for key in ('recipe', 'seed', 'diverged_at')] == ['demo_gan', '1', '2']  # PSNR fell before
    captured = capsys.readouterr()
    assert 'out_demo_gan_seed1 diverged at iteration 2: PSNR on Set5 5.00 dB after 21.00 dB' in captured.out
    assert '| diverged | 1 of 2 | 0 of 2 |' in captured.out
    assert 'failed' not in captured.err
    before = trained(root)
    assert run(root, *command, '--drop', 30) == 0
    assert trained(root) == before
    output = capsys.readouterr().out
    assert 'out_demo_gan_seed1 diverged at iteration 3: l_g_gan not finite' in output
    assert '| psnr_last:Set5 | 13 ± 11 | 21.5 ± 0.71 |' in output
    (root / 'out' / 'runs' / 'out_demo_gan_seed1' / 'diverged.json').unlink()
    (root / 'act').unlink()
    assert run(root, *command) == 0
    assert trained(root) == sorted([*before, 'out_demo_gan_seed1'])
    assert '| diverged | 0 of 2 | 0 of 2 |' in capsys.readouterr().out


def test_other_failures_are_no_divergence(root, gan, plain, capsys):
    (root / 'act').write_text('fail gan_seed1')
    assert run(root, '-opt', gan, plain, '--seeds', 0, 1) == 1
    captured = capsys.readouterr()
    assert 'failed: out_demo_gan_seed1: train failed with exit status 1' in captured.err
    assert 'error: no memory' in captured.out
    assert '| diverged | 0 of 1 | 0 of 2 |' in captured.out
    assert [(row['recipe'], row['seed']) for row in rows(root)] == [
        ('demo_gan', '0'), ('demo_plain', '0'), ('demo_plain', '1')
    ]  # fmt: skip


def test_divergence_of_an_earlier_attempt_is_not_taken_for_this_one(root, gan, capsys):
    """The log of a run holds all its attempts."""
    (root / 'act').write_text('explode gan')
    assert run(root, '-opt', gan, '--seeds', 0) == 0
    (root / 'out' / 'runs' / 'out_demo_gan_seed0' / 'diverged.json').unlink()
    (root / 'act').write_text('fail gan')
    assert run(root, '-opt', gan, '--seeds', 0) == 1
    assert 'failed: out_demo_gan_seed0' in capsys.readouterr().err


def test_interrupted_command_continues(root, gan, plain, capsys):
    (root / 'act').write_text('wait gan')
    command = ('-opt', gan, plain, '--seeds', 0, '--processes', 1)
    assert run(root, *command) == 128 + signal.SIGTERM
    captured = capsys.readouterr()
    assert 'repeat the command to continue' in captured.err
    assert '| diverged |' not in captured.out  # nothing has ended yet
    assert trained(root) == ['out_demo_gan_seed0']
    assert run(root, *command) == 0
    assert trained(root) == ['out_demo_gan_seed0', 'out_demo_gan_seed0', 'out_demo_plain_seed0']
    # the PSNR that the first part wrote at iteration 2 is overwritten by the second
    row = rows(root)[0]
    assert (row['diverged'], row['psnr_last:Set5'], row['grad_gan_ratio']) == ('no', '21.0', '2.0')
    assert len(list((root / 'tb_logger' / 'out_demo_gan_seed0').iterdir())) == 2


def test_run_without_curves_has_blanks(root, gan, capsys):
    assert run(root, '-opt', gan, '--seeds', 0) == 0
    for file in (root / 'tb_logger' / 'out_demo_gan_seed0').iterdir():
        file.unlink()
    assert run(root, '-opt', gan, '--seeds', 0) == 0
    assert 'there are no curves in tb_logger/out_demo_gan_seed0' in capsys.readouterr().out
    assert rows(root)[0]['grad_gan_first'] == ''


@pytest.mark.parametrize(
    ('model', 'given', 'expected'),
    [
        ('GANSRModel', {}, 20),
        ('MaskGANModel', {'log_gradient_norms': None}, 20),
        ('ExtSRModel', {'log_gradient_norms': 7}, 7),
        ('ESRGANModel', {}, None),  # BasicSR's would not know it
    ],
)
def test_what_is_logged(model, given, expected):
    opt = {'model_type': model, 'train': given, 'logger': {'print_freq': 20, 'use_tb_logger': False}}
    study.log_curves(opt)
    assert opt['logger'] == {'print_freq': 20, 'use_tb_logger': True}
    assert opt['train'].get('log_gradient_norms') == expected


def test_recipe_without_psnr_is_named(root, capsys):
    recipe = shrunk(root, 'train_esrgan', 'blind')
    recipe.write_text(recipe.read_text().replace('calculate_psnr', 'calculate_ssim'))
    assert run(root, '-opt', recipe, '--seeds', 0) == 0
    assert 'demo_blind has no PSNR among val:metrics' in capsys.readouterr().err


def test_name_for_which_no_curves_are_written(root, gan, capsys):
    assert run(root, '-opt', gan, '--seeds', 0, '--output', root / 'debugging') == 1
    assert "no curves for names with 'debug'" in capsys.readouterr().err
    assert not trained(root)


@pytest.mark.parametrize('arguments', [['--tail', '0'], ['--tail', '1.5'], ['--drop', '0'], ['--drop', 'x']])
def test_impossible_windows(arguments, capsys):
    with pytest.raises(SystemExit):
        study.parse(['-opt', 'x', '--output', 'out', *arguments])
    assert arguments[0] in capsys.readouterr().err


def test_real_trainings(root, gan, monkeypatch, capsys):
    """An adversarial recipe, and one that explodes, as they are trained."""
    (root / 'basicsr' / 'train.py').write_text(REAL_TRAIN)
    monkeypatch.setattr(runs_of, 'EVALUATION', PROJECT / 'studies' / 'study.py')
    monkeypatch.setenv('PYTHONPATH', str(PROJECT))
    explosive = {'optim_g': {'type': 'AdamW', 'lr': 1e9, 'weight_decay': 1e9}, 'perceptual_opt': None}
    exploding = shrunk(root, 'train_esrgan', 'exploding', **explosive)
    assert run(root, '-opt', gan, exploding, '--seeds', 0, '--tail', 1) == 0
    steady, broken = rows(root)
    assert (steady['diverged'], broken['diverged']) == ('no', 'yes')
    assert 'l_g_gan' in broken['reason']
    assert broken['diverged_at'] == '2'
    assert all(float(steady[key]) > 0 for key in ('grad_gan_first', 'gan_share_last', 'psnr_std:demo_val'))
    curves = read_curves(root / 'tb_logger' / 'out_demo_gan_seed0')
    assert list(curves['metrics/demo_val/psnr']) == [2, 4]
    assert list(curves['grad_gan']) == list(curves['out_d_real']) == [1, 2, 3, 4]
    assert '| diverged | 0 of 1 | 1 of 1 |' in capsys.readouterr().out
    assert [row['recipe'] for row in rows(root, 'results')] == ['demo_gan']
