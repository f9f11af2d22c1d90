"""The schema for editors is current, takes every option file, and refuses what the check refuses."""

import copy
import json
import re
from pathlib import Path

import pytest
from option_edits import changed
from script_loader import load_script

from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.options.check import find_problems
from ext_core.options.first_look import first_look
from ext_core.registration import register_all

jsonschema = pytest.importorskip('jsonschema', reason='needs jsonschema, of the extra dev')
register_all()
export_schema = load_script('export_schema')
ROOT = Path(__file__).resolve().parents[2]
FILES = [path for path in sorted((ROOT / 'options').rglob('*.yml')) if path.parent.name != 'overlays']
SCHEMA = json.loads((ROOT / 'options' / 'schema.json').read_text(encoding='utf-8'))
RECIPES = [path for path in FILES if 'model_type' in options.load(path)]


@pytest.fixture(scope='module')
def validator():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


def faults(validator, opt: dict) -> list[str]:
    return [f'{":".join(map(str, error.absolute_path))}: {error.message[:200]}' for error in validator.iter_errors(opt)]


def test_the_file_is_current():
    assert export_schema.SCHEMA.read_text(encoding='utf-8') == export_schema.text(), (
        'options/schema.json is old: run python scripts/export_schema.py'
    )


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_every_recipe_fits_as_it_is_and_merged(validator, path):
    assert faults(validator, options.load(path)) == []
    assert faults(validator, yaml_safe.read(path)) == []


def test_a_demo_fits(validator):
    opt = options.load(ROOT / 'options' / 'train_mask_esrgan.yml')
    options.apply_overlay(opt, yaml_safe.read(ROOT / options.DEMO_OVERLAYS / 'demo.yml'))
    assert faults(validator, opt) == []


OF_A_RUN = {'is_train': True, 'root_path': '.', 'dist': False}
REFUSED = [
    ('model_type', 'GANSRModle', 'model_type'),
    ('name', 17, 'name'),
    ('scale', 2.5, 'scale'),
    ('datasets:valid', {'name': 'x'}, 'datasets'),
    ('datasets:train:gt_sise', 64, 'gt_sise'),
    ('network_g:type', 'RRDBnet', 'network_g:type'),
    ('network_g:num_fet', 64, 'num_fet'),
    ('train:ema_deacy', 0.9, 'ema_deacy'),
    ('train:ema_decay', 1.5, 'train:ema_decay'),
    ('train:optim_g:beta', [0.9, 0.99], 'beta'),
    ('train:optim_g:betas', [0.9], 'train:optim_g:betas'),
    ('train:scheduler:milestone', [1], 'milestone'),
    ('train:pixel_opt:type', 'L2Loss', 'train:pixel_opt:type'),
    ('train:perceptual_opt:layer_weights', {'conv5_4': 'one'}, 'train:perceptual_opt:layer_weights:conv5_4'),
    ('train:mask_opt:error_norm', 'median', 'train:mask_opt:error_norm'),
    ('train:total_iter', ..., 'total_iter'),
    ('val:metrics:psnr:type', 'calculate_pnsr', 'val:metrics:psnr:type'),
    ('logger:print_freq', 0, 'logger:print_freq'),
]


def spoilt(cases: list[tuple]) -> dict:
    """The recipe with all of these changes."""
    opt = copy.deepcopy(options.load(ROOT / 'options' / 'train_mask_esrgan.yml'))
    for path, value, _ in cases:
        changed(opt, path, value)
    return opt


@pytest.mark.parametrize('classes', [True, False])
def test_what_is_wrong_is_underlined(validator, classes):
    cases = [case for case in REFUSED if case[0].endswith('type') == classes]
    found = faults(validator, spoilt(cases))
    for path, _, said in cases:
        of_it = (fault for fault in found if fault.startswith((f'{path}: ', f'{said}: ')) or f"'{said}'" in fault)
        assert any(of_it), (path, found)


def test_a_first_look_names_the_line_and_says_what_the_check_says(tmp_path):
    """Missing keys and names of classes are left to the check."""
    cases = [case for case in REFUSED if case[1] is not ... and not case[0].endswith('type')]
    file, opt = tmp_path / 'x.yml', spoilt(cases)
    file.write_text(yaml_safe.dump(opt))
    found, problems = first_look(file), [str(problem) for problem in find_problems(opt | OF_A_RUN, True)]
    for path, _, said in cases:
        assert any(said in line for line in found), (said, found)
        assert any(path.split(':')[-1] in problem for problem in problems), (path, problems)
    assert all(re.match(rf'{file}:\d+: [\w:]+(: unknown key| must be )', line) for line in found)
    assert len(found) <= len(cases) + 1  # a dataset without dataroot_gt may also be another kind


def test_a_first_look_passes_what_is_right_and_knows_no_classes_of_others(tmp_path):
    for file in sorted((ROOT / 'options').rglob('*.yml')):
        assert first_look(file) == []
    (tmp_path / 'x.yml').write_text('custom_imports: {imports: mine}\nnetwork_g: {type: Mine}\n')
    assert first_look(tmp_path / 'x.yml') == []


def first_look_at(folder: Path, text: str, overridden: tuple[str, ...] = ()) -> list[str]:
    file = folder / 'x.yml'
    file.write_text(f'_base_: {ROOT}/options/train_mask_esrgan.yml\n{text}\n')
    return [line.removeprefix(f'{file}:') for line in first_look(file, overridden)]


@pytest.mark.parametrize(
    'text',
    [
        'suffix: ~',  # as in BasicSR's options/test/RCAN/test_RCAN.yml
        'datasets: {val: {batch_size_per_gpu: ~}}',
        'datasets: {train: {dataroot_weights: ~}}',
        'network_g: {_delete_: true, type: TinySR, num_feat: 32}',  # of a file in ext_arch, as docs/extending.md has it
        'train: {losses: {gradient: {type: GradientLoss, sharpness: 2}}}',
        'model_type: RisingGANModel',
    ],
)
def test_a_first_look_says_nothing_of_what_the_check_takes(tmp_path, text):
    assert first_look_at(tmp_path, text) == []


@pytest.mark.parametrize(
    'text', ['suffix: ~', 'val_freq: ~', 'train: {val_freq: ~}', 'datasets: {train: {dataroot_real_lq: ~}}']
)
def test_null_takes_out_what_another_file_has_here_as_in_the_check(validator, text):
    opt = options.load(ROOT / 'options' / 'train_mask_esrgan.yml')
    merged = options.merge(opt, yaml_safe.parse(text))
    assert faults(validator, merged) == []
    assert not any('unknown key' in str(problem) for problem in find_problems(merged | OF_A_RUN, True))


def test_a_first_look_leaves_out_what_the_command_line_sets(tmp_path):
    text = 'train: {total_iter: lots, total_itre: 3}'
    assert len(first_look_at(tmp_path, text, ('train:total',))) == 2
    assert len(first_look_at(tmp_path, text, ('train:total_iter',))) == 1
    assert first_look_at(tmp_path, text, ('train',)) == []


def test_a_first_look_says_each_thing_once_and_what_is_wrong(tmp_path):
    assert first_look_at(tmp_path, 'network_g: [3]') == ["2: network_g must be ~ or a section, but is '[3]'."]
    found = first_look_at(tmp_path, 'model_type: SRModel\ntrain: {gan_opt: {type: GANLoss}}')
    assert '3: train:gan_opt is a key of other models, which this one does not read.' in found


def test_a_file_that_inherits_may_lack_what_it_inherits_but_not_misspell(validator):
    assert faults(validator, {'_base_': 'x.yml', 'train': {'optim_g': {'lr': 1e-4}}}) == []
    assert faults(validator, {'_base_': 'x.yml', 'network_g': {'type': 'RRDBNet', 'num_fet': 3}})
