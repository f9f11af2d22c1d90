"""Wrong option files end in one clear message, before anything is created: in this process, and as a command."""

import subprocess
import sys
from pathlib import Path

import bad_input_run
import pytest
import yaml
from bad_input_run import TIMEOUT, Run

run = bad_input_run.run

PROJECT = Path(__file__).resolve().parents[1]


def test_the_unspoilt_recipe_trains(run):
    status, printed = run.launch()
    assert status == 0, printed
    assert (run.root / 'experiments' / 'run' / 'models' / 'net_g_4.pth').is_file()


# ---------------------------------------------------------------------- options
@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        ('model_type', 'SRModle', ["model_type: there is no model 'SRModle'", "'SRModel'"]),
        ('network_g:type', 'MSRResnet', ["network_g:type: there is no network 'MSRResnet'", "'MSRResNet'"]),
        ('network_g:num_fet', 8, ['network_g:num_fet', "'num_feat'"]),
        ('train:pixel_opt:type', 'L1Los', ["train:pixel_opt:type: there is no loss 'L1Los'", "'L1Loss'"]),
        ('train:ema_deacy', 0.9, ['train:ema_deacy: unknown key', "'ema_decay'"]),
        ('path:pretrain_netwrok_g', 'x.pth', ['path:pretrain_netwrok_g: unknown key', "'pretrain_network_g'"]),
        ('train:total_iter', 'abc', ['train:total_iter must be a whole number of at least 1', "'abc'"]),
        ('scale', 2, ['network_g:upscale is 4, but scale is 2', 'set scale: 4']),
        ('network_g:upscale', 2, ['network_g:upscale is 2, but scale is 4']),
        ('datasets:train:gt_size', 128, ['crops of 128 do not fit', 'img0.png', 'at most 64']),
        ('datasets:train:dataroot_gt', 'gone', ['datasets:train:dataroot_gt: folder not found: gone']),
        ('datasets:train:dataroot_gt', None, ['datasets:train:dataroot_gt is missing']),
        ('datasets:train:batch_size_per_gpu', 9, ['do not fill one batch of 9']),
        ('path:pretrain_network_g', 'gone.pth', ['path:pretrain_network_g: file not found: gone.pth']),
    ],
)
def test_wrong_options_are_refused(run, path, value, said):
    run.put(path, value)
    run.refused(*said)


def test_all_problems_are_listed_at_once(run):
    run.put('model_type', 'SRModle')
    run.put('datasets:train:dataroot_lq', 'gone')
    run.refused('2 problems; nothing was created', 'model_type', 'datasets:train:dataroot_lq')


def test_yaml_that_constructs_objects(run):
    text = f'name: run\nscale: !!python/object/apply:os.system ["touch {run.root}/pwned"]\n'
    run.refused('opt.yml, line 2', 'Python objects are refused', text=text)
    assert not (run.root / 'pwned').exists()


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('name: run\nname: other\n', ["key 'name' is given twice, in lines 1 and 2"]),
        ('name: [run\n', ['opt.yml is not valid YAML', 'line 2']),
        ('- name\n', ['opt.yml: an option file is a mapping']),
        ('', ['opt.yml: an option file is a mapping', 'nothing']),
        ('name: run\n', ['model_type is missing', 'datasets is missing', 'train is missing']),
    ],
)
def test_files_that_are_no_options(run, text, said):
    run.refused(*said, text=text)


# ---------------------------------------------------------------------- the real command
def command(run: Run, text: str | None = None) -> subprocess.CompletedProcess:
    option_file = run.root / 'opt.yml'
    option_file.write_text(yaml.safe_dump(run.opt) if text is None else text)
    return subprocess.run(
        [sys.executable, 'basicsr/train.py', '-opt', str(option_file)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        ('network_g:type', 'MSRResnet', "Did you mean 'MSRResNet'?"),
        ('datasets:train:dataroot_gt', '/nonexistent/gt', 'folder not found: /nonexistent/gt'),
    ],
)
def test_the_command_prints_the_message_and_no_traceback(run, path, value, said):
    run.put('name', 'bad_input_of_the_test_suite')
    run.put('datasets:train:dataroot_gt', str(run.root / 'gt'))
    run.put('datasets:train:dataroot_lq', str(run.root / 'lq'))
    run.put(path, value)
    done = command(run)
    assert done.returncode == 1
    assert done.stderr.count('error: ') == 1
    assert said in done.stderr
    assert 'Traceback' not in done.stdout + done.stderr
    assert not (PROJECT / 'experiments' / 'bad_input_of_the_test_suite').exists()


def test_the_command_refuses_python_objects(run):
    done = command(run, text='name: !!python/name:os.system\n')
    assert done.returncode == 1
    assert 'Python objects are refused' in done.stderr
    assert 'Traceback' not in done.stderr
