"""Recipes, names and option files of runs, which of them are checked, and the exit status of a study."""

import argparse
import json
from pathlib import Path

import pytest

from ext_core import check as option_check
from ext_core.errors import UserError
from ext_core.options import yaml_safe
from ext_core.studies import recipes as recipe_studies
from ext_core.studies.jobs import Outcome
from ext_data.preparation.demo import ensure_demo_data


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    return ensure_demo_data(tmp_path_factory.mktemp('data'))


@pytest.fixture
def recipe(tmp_path, data) -> Path:
    val = {'name': 'own', 'dataroot_gt': str(data / 'val' / 'gt'), 'dataroot_lq': str(data / 'val' / 'lq_x4')}
    opt = {
        'name': 'tiny',
        'model_type': 'GANSRModel',
        'scale': 4,
        'datasets': {'train': {'name': 'own'}, 'val': val},
        'network_g': {'type': 'MSRResNet'},
        'train': {'total_iter': 4, 'pixel_opt': {'type': 'L1Loss'}, 'mask_opt': None},
        'val': {'val_freq': 2, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}},
    }
    path = tmp_path / 'tiny.yml'
    path.write_text(yaml_safe.dump(opt))
    return path


def arguments(root: Path, *more: object) -> argparse.Namespace:
    fixed = ['-opt', 'x.yml', '--output', root / 'out']
    return recipe_studies.parser_of('').parse_args([str(argument) for argument in (*fixed, *more)])


def plan(root: Path, path: Path, variants: list, *more: object) -> list[recipe_studies.Run]:
    args = arguments(root, *more)
    return recipe_studies.plan(root, [recipe_studies.read_recipe(root, path, args, args.set)], variants, args)


def leave(opt: dict) -> None:
    """A setting that changes nothing."""


def mask(opt: dict) -> None:
    opt['train']['mask_opt'] = {'type': 'ErrorMask'}


def test_runs_go_seed_by_seed_with_names_of_their_own(tmp_path, recipe):
    runs = plan(tmp_path, recipe, [('as_is', leave), ('masked', mask)], '--seeds', 1, 2)
    names = ['out_tiny_seed1', 'out_tiny_masked_seed1', 'out_tiny_seed2', 'out_tiny_masked_seed2']
    assert [run.job.name for run in runs] == names
    assert [run.opt['name'] for run in runs] == names
    assert [run.opt['manual_seed'] for run in runs] == [1, 1, 2, 2]
    assert [bool(run.opt['train']['mask_opt']) for run in runs] == [False, True, False, True]
    assert not (tmp_path / 'out').exists()  # a plan leaves no traces


def test_a_name_that_occurs_twice_is_refused(tmp_path, recipe):
    with pytest.raises(UserError, match='two runs would be out_tiny_seed3'):
        plan(tmp_path, recipe, [('as_is', leave)], '--seeds', 3, 3)


def test_overrides_and_test_sets(tmp_path, recipe, data):
    test = f'Set5={data / "val" / "gt"}:{data / "val" / "lq_x4"}'
    (run,) = plan(tmp_path, recipe, [('as_is', leave)], '--seeds', 0, '--set', 'train:total_iter=9', '--test', test)
    assert run.opt['train']['total_iter'] == 9
    assert list(run.recipe.sets) == ['Set5']
    (run,) = plan(tmp_path, recipe, [('as_is', leave)], '--seeds', 0)
    assert list(run.recipe.sets) == ['own']
    assert run.recipe.metrics == {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}


def test_each_choice_of_parts_is_checked_once(tmp_path, recipe, monkeypatch):
    checked: list[str] = []
    monkeypatch.setattr(option_check, 'check_options', lambda opt, is_train: checked.append(opt['name']))
    monkeypatch.setattr(recipe_studies, 'run_jobs', lambda jobs, *arguments: Outcome({}))
    runs = plan(tmp_path, recipe, [('as_is', leave), ('masked', mask)], '--seeds', 1, 2)
    recipe_studies.train(tmp_path, runs, arguments(tmp_path), on_progress=lambda job: None)
    assert checked == ['out_tiny_seed2', 'out_tiny_masked_seed2']
    assert yaml_safe.read(tmp_path / 'out' / 'runs' / 'out_tiny_masked_seed1' / 'options.yml') == runs[1].opt


def test_rows_of_finished_runs(tmp_path, recipe):
    finished, _ = plan(tmp_path, recipe, [('as_is', leave)], '--seeds', 1, 2)
    result = finished.job.folder / 'result.json'
    result.parent.mkdir(parents=True)
    result.write_text(json.dumps({'own': {'psnr': {'a.png': 20.0, 'b.png': 22.0}}}))
    finished.job.record(finished.job.steps[0], 7.0, done=True)
    finished.job.record(finished.job.steps[1], 1.0, done=True)
    runs = plan(tmp_path, recipe, [('as_is', leave)], '--seeds', 1, 2)
    (row,) = recipe_studies.evaluation_rows(runs, lambda run: {'k': 0.2})
    assert row.pop('options') == finished.job.steps[0].inputs[:12]
    assert list(row.items()) == [
        ('recipe', 'tiny'), ('setting', 'as_is'), ('k', 0.2), ('seed', 1), ('set', 'own'), ('psnr', 21.0),
        ('iterations', 4), ('seconds', 7.0)
    ]  # fmt: skip
    assert list(recipe_studies.metrics_of(runs)) == ['psnr']


@pytest.mark.parametrize(
    ('outcome', 'status', 'said'),
    [
        (Outcome({}), 0, ''),
        (Outcome({'a': 'a: train failed'}), 1, 'failed: a: train failed\n'),
        (Outcome({}, signal=15), 143, 'stopped; repeat the command to continue\n'),
        (UserError('no such file'), 1, 'error: no such file\n'),
        (KeyboardInterrupt(), 130, ''),
    ],
)
def test_exit_status(outcome, status, said, capsys):
    def study(args: argparse.Namespace) -> Outcome:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    assert recipe_studies.run_script(study, argparse.Namespace()) == status
    assert capsys.readouterr().err == said


def test_all_metrics_are_measured_beside_those_of_the_recipe(tmp_path, recipe):
    (plain,) = plan(tmp_path, recipe, [('as_is', leave)], '--seeds', 0)
    (run,) = plan(tmp_path, recipe, [('as_is', leave)], '--seeds', 0, '--all-metrics')
    assert {'psnr', 'ssim', 'niqe'} <= run.recipe.metrics.keys()
    assert run.recipe.metrics['psnr'] == plain.recipe.metrics['psnr']  # the recipe's own
    assert run.recipe.opt['val'] == plain.recipe.opt['val']
    assert run.job.steps[0] == plain.job.steps[0]  # the training is the same
