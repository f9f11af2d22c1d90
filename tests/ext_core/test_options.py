"""Option files, overrides and overlays."""

import argparse
from pathlib import Path

import pytest

from ext_core.errors import UserError
from ext_core.options import loading as options
from ext_core.options import yaml_safe

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


# ---------------------------------------------------------------------- YAML
@pytest.mark.parametrize('text', ['2e-4', '2E-4', '!!float 2e-4', '0.0002', '+2e-4'])
def test_numbers_without_a_point_are_numbers(text):
    assert yaml_safe.parse(f'lr: {text}') == {'lr': 2e-4}


def test_words_stay_words():
    assert yaml_safe.parse('{a: e4, b: 1e, c: x2e-4, d: ~}') == {'a': 'e4', 'b': '1e', 'c': 'x2e-4', 'd': None}


def test_missing_files_name_themselves(tmp_path):
    with pytest.raises(UserError, match=r'none\.yml'):
        yaml_safe.read(tmp_path / 'none.yml')


# ---------------------------------------------------------------------- inheritance
@pytest.mark.parametrize(
    ('content', 'remedy'),
    [
        (rb'dataroot_gt: "d:\data\gt"', 'write paths with /'),
        (b'name = "x"\nscale = 4\n', 'in YAML'),
    ],
)
def test_files_of_other_editors_and_programs(tmp_path, content, remedy):
    path = tmp_path / 'o.yml'
    path.write_bytes(content)
    with pytest.raises(UserError, match=remedy):
        yaml_safe.read(path)


def test_base_files_merge_key_by_key(tmp_path):
    write(tmp_path, 'a.yml', 'train: {lr: 1, steps: [1, 2]}\nname: a')
    write(tmp_path, 'b.yml', 'path: {x: 1, y: 2}')
    child = write(
        tmp_path, 'c.yml', '_base_: [a.yml, b.yml]\nname: c\ntrain: {steps: [3]}\npath: {_delete_: true, z: 3}'
    )
    assert options.load(child) == {'train': {'lr': 1, 'steps': [3]}, 'name': 'c', 'path': {'z': 3}}


def test_recipes_of_the_package_are_bases_from_any_folder(tmp_path):
    path = write(tmp_path, 'mine.yml', '_base_: [basicsr-ext://train_rrdb_psnr.yml]\nname: mine\n')
    assert options.load(path) == options.load(ROOT / 'options' / 'train_rrdb_psnr.yml') | {'name': 'mine'}
    args = options.parse_arguments(['-opt', 'basicsr-ext://test_edsr.yml'], is_train=False)
    assert args.opt == ROOT / 'options' / 'test_edsr.yml'


def test_the_demo_needs_no_option_file(capsys):
    assert options.parse_arguments(['--demo'], is_train=True).opt == ROOT / 'options' / 'train_mask_esrgan.yml'
    with pytest.raises(SystemExit):
        options.parse_arguments([], is_train=True)
    assert 'required: -opt' in capsys.readouterr().err


def test_a_section_replaces_none_and_the_reverse(tmp_path):
    write(tmp_path, 'a.yml', 'train: {mask_opt: ~, gan_opt: {type: A}}')
    child = write(tmp_path, 'b.yml', '_base_: a.yml\ntrain: {mask_opt: {type: M}, gan_opt: ~}')
    assert options.load(child) == {'train': {'mask_opt': {'type': 'M'}, 'gan_opt': None}}


def test_datasets_and_metrics_that_are_none_are_left_out(tmp_path):
    write(tmp_path, 'a.yml', 'datasets: {test_1: {name: a}, test_2: {name: b}, test_3: ~}')
    middle = write(tmp_path, 'b.yml', '_base_: a.yml\ndatasets: {test_1: ~}')
    child = write(tmp_path, 'c.yml', '_base_: b.yml\ndatasets: {test_1: {name: c}, test_2: ~}')
    assert options.load(middle) == {'datasets': {'test_2': {'name': 'b'}}}
    assert options.load(child) == {'datasets': {'test_1': {'name': 'c'}}}
    other = write(tmp_path, 'd.yml', 'val: {metrics: {psnr: {type: a}, ssim: ~}}')
    assert options.load(other) == {'val': {'metrics': {'psnr': {'type': 'a'}}}}


def test_circular_bases_are_refused(tmp_path):
    write(tmp_path, 'a.yml', '_base_: b.yml')
    write(tmp_path, 'b.yml', '_base_: a.yml')
    with pytest.raises(UserError, match='circle'):
        options.load(tmp_path / 'a.yml')


# ---------------------------------------------------------------------- overrides
def test_overrides_are_yaml_values():
    opt = {'train': {'lr': 1, 'betas': [0.9, 0.99], 'amp': 'bf16'}, 'path': {'w': 'x'}}
    options.override(opt, ['train:lr=2e-4', 'train:betas=[0.5, 0.9]', 'train:amp=~', 'path:w=a=b'])
    assert opt == {'train': {'lr': 2e-4, 'betas': [0.5, 0.9], 'amp': None}, 'path': {'w': 'a=b'}}


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ('train:lrr=1', "no key 'train:lrr'. Did you mean 'train:lr'"),
        ('trian:lr=1', "Did you mean 'train:lr'"),
        ('train:lr:x=1', 'no key'),
        ('train:lr', 'expected key:subkey=value'),
        ('train:lr=!!python/object/apply:os.getcwd []', 'Python objects'),
    ],
)
def test_bad_overrides_are_refused(entry, message):
    opt = {'train': {'lr': 1}}
    with pytest.raises(UserError, match=message):
        options.override(opt, [entry])
    assert opt == {'train': {'lr': 1}}


# ---------------------------------------------------------------------- overlays
def test_overlay_shrinks_replaces_and_merges():
    train = {'total_iter': 1000, 'milestones': [5, 500], 'flag': True}
    opt = {'scale': 3, 'name': 'x', 'train': train, 'val': {'a': 1}}
    overlay = {
        'at_most': {'train:*': 100, 'train:absent': 1},
        'replace': {'val:?': 'X{scale}', 'val:absent': 2},
        'merge': {'name': 'demo_{name}', 'new': {'k': 1}},
    }
    options.apply_overlay(opt, overlay)
    assert opt == {
        'scale': 3,
        'name': 'demo_x',
        'train': {'total_iter': 100, 'milestones': [5, 100], 'flag': True},
        'val': {'a': 'X3'},
        'new': {'k': 1},
    }


# ---------------------------------------------------------------------- resolving
def resolve(path: Path, *arguments: str, is_train: bool = True) -> tuple[dict, dict]:
    args = options.parse_arguments(['-opt', str(path), *arguments], is_train)
    return options.resolve(args, Path('/somewhere'), is_train)


def test_without_cuda_what_needs_it_is_switched_off(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    merged, opt = resolve(ROOT / 'options' / 'train_rrdb_psnr.yml')
    assert merged['num_gpu'] == 'auto'
    assert opt['num_gpu'] == 0
    assert opt['datasets']['train']['pin_memory'] is False
    assert opt['datasets']['train']['prefetch_mode'] is None


@pytest.mark.parametrize('value', [-1, 'gpu', None, False])
def test_without_cuda_nonsense_is_left_to_the_check(monkeypatch, value):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    _, opt = resolve(
        ROOT / 'options' / 'train_rrdb_psnr.yml', '--force_yml', f'num_gpu={"~" if value is None else value}'
    )
    assert opt['num_gpu'] == value
    assert type(opt['num_gpu']) is type(value)


def test_with_cuda_the_file_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    _, opt = resolve(ROOT / 'options' / 'train_rrdb_psnr.yml')
    assert opt['num_gpu'] == 2
    assert opt['datasets']['train']['prefetch_mode'] == 'cuda'


def test_paths_and_phases_are_completed():
    _, opt = resolve(ROOT / 'options' / 'train_rrdb_psnr.yml')
    assert opt['path']['models'] == '/somewhere/experiments/train_rrdb_psnr/models'
    assert opt['datasets']['val']['phase'] == 'val'
    assert opt['datasets']['train']['scale'] == 4
    assert opt['val']['suffix'] is None
    _, opt = resolve(ROOT / 'options' / 'test_mask_esrgan.yml', is_train=False)
    assert opt['path']['visualization'] == '/somewhere/results/test_mask_esrgan/visualization'
    assert opt['datasets']['test_2']['phase'] == 'test'


def test_the_command_line_leaves_a_dataset_out():
    for flags in ((), ('--demo',)):
        entries = ['datasets:test_2=~', 'datasets:test_3:name=other']
        merged, opt = resolve(ROOT / 'options' / 'test_srcnn.yml', *flags, '--force_yml', *entries, is_train=False)
        assert list(merged['datasets']) == list(opt['datasets']) == ['test_1', 'test_3']
        assert opt['datasets']['test_3']['name'] == 'other'


def test_debug_mode_is_basicsrs():
    _, opt = resolve(ROOT / 'options' / 'train_rrdb_psnr.yml', '--debug')
    assert opt['name'] == 'debug_train_rrdb_psnr'
    assert opt['logger']['print_freq'] == 1
    assert opt['val']['val_freq'] == opt['logger']['save_checkpoint_freq'] == 8


# train_domain_adaptation.yml names two recipes, and is none
RECIPES = [path for path in sorted((ROOT / 'options').glob('t*.yml')) if 'model_type' in options.load(path)]


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_every_recipe_resolves_and_shrinks(path):
    is_train = path.stem.startswith('train')
    merged, opt = resolve(path, '--demo', is_train=is_train)
    assert merged['name'].startswith('demo_')
    assert all('datasets/demo' in section['dataroot_gt'] for section in opt['datasets'].values())
    if is_train:
        assert opt['train']['total_iter'] <= 100


def test_local_rank_of_both_spellings_is_taken():
    for word in ('--local-rank', '--local_rank'):
        assert isinstance(options.parse_arguments(['-opt', 'x.yml', f'{word}=1'], True), argparse.Namespace)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('datasets: [1]', "datasets is '\\[1\\]'"),
        ('path: x', "path is 'x'"),
        ('datasets: {train: 5}', "datasets:train is '5'"),
        ('train: {5: 1}', 'train:5: a key of the option file must be text'),
        ('7: x', '7: a key'),
        ('_base_: 3', "_base_ must be a path or a list of paths, but is '3'"),
    ],
)
def test_malformed_files_are_refused_before_anything_reads_them(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        resolve(write(tmp_path, 'x.yml', text))


def test_overrides_keep_the_outline():
    with pytest.raises(UserError, match="datasets is '5'"):
        resolve(ROOT / 'options' / 'train_rrdb_psnr.yml', '--force_yml', 'datasets=5')


def test_demo_needs_a_scale_and_crops_fit_it(tmp_path):
    text = f'_base_: {ROOT / "options" / "train_rrdb_psnr.yml"}\nscale: '
    with pytest.raises(UserError, match='--demo: scale'):
        resolve(write(tmp_path, 'x.yml', text + '5'), '--demo')
    _, opt = resolve(write(tmp_path, 'y.yml', text + '3'), '--demo')
    assert opt['datasets']['train']['gt_size'] == 126


def test_demo_of_a_test_evaluates_what_the_demo_training_leaves():
    _, opt = resolve(ROOT / 'options' / 'test_mask_esrgan.yml', '--demo', is_train=False)
    assert opt['path']['pretrain_network_g'] == 'experiments/demo_train_mask_esrgan/models/net_g_latest.pth'
