"""The mutation test of the option check, on a sample; and the mutation test itself."""

import contextlib
import json
import random
import time
from pathlib import Path

import pytest
from script_loader import load_script

from ext_core.errors import UserError
from ext_core.mutation import campaign, judge
from ext_core.mutation.damages import Damager
from ext_core.registration import register_all

register_all()
mutate_options = load_script('mutate_options')
OPTIONS = mutate_options.OPTIONS
SAMPLE = ['train_srresnet.yml', 'test_srcnn.yml', 'zoo/photo_x4_psnr.yml']


@pytest.fixture(scope='module')
def stand_ins():
    with campaign.prepared(OPTIONS, [OPTIONS / file for file in SAMPLE]) as home:
        yield home


# ---------------------------------------------------------------------- the sample
@pytest.mark.parametrize('file', SAMPLE)
def test_every_damage_is_reported_or_trains(stand_ins, file):
    plan = campaign.Plan(damages=40, seed=3, tries=2)
    (result,) = campaign.run(OPTIONS, [OPTIONS / file], plan, 1, stand_ins)
    assert result.failures == []
    assert sum(result.counts.values()) == 40
    assert result.counts['REPORTED'] > 25


def test_all_recipes_and_what_they_inherit_are_damaged():
    heirs = campaign.recipes(OPTIONS)
    every = {path for path in OPTIONS.rglob('*.yml') if path.parent.name != 'overlays'}
    assert set(heirs) == every


# ---------------------------------------------------------------------- damages
def test_damages_depend_on_the_seed_alone_and_change_the_text():
    text = (OPTIONS / 'train_srresnet.yml').read_text()
    first, second, other = (
        [Damager(text, ['L1Loss', 'RRDBNet']).damage(generator) for _ in range(200)]
        for generator in (random.Random(1), random.Random(1), random.Random(2))
    )
    assert [damage.text for damage in first[:1]] == [damage.text for damage in second[:1]]
    assert first == second != other
    assert all(damage.text != text for damage in first)
    assert {damage.kind for damage in first} == set(Damager(text).kinds)


def test_a_removed_key_takes_its_section_along():
    text = 'a: 1\ntrain:\n  # why\n  lr: 1\n\n  steps:\n    - 5\nval: 2\n'
    damager = Damager(text)
    removed = {damager._remove(random.Random(seed))[0]: damager._remove(random.Random(seed))[1] for seed in range(30)}
    assert removed['line 2: train removed'] == ['a: 1', 'val: 2']


# ---------------------------------------------------------------------- verdicts
def outcome(monkeypatch, tmp_path, job, seconds: float = 5.0):
    monkeypatch.setattr(judge, 'checked', lambda *arguments: job())
    return judge.judge(Path('x.yml'), tmp_path, judge.Kind.TRAINING, 'as before', seconds)


def raising(error):
    def job():
        raise error

    return job


@pytest.mark.parametrize(
    ('job', 'verdict'),
    [
        (raising(UserError('train:lr is wrong.')), 'REPORTED'),
        (raising(UserError('')), 'SILENT'),
        (raising(UserError('Traceback (most recent call last)')), 'SILENT'),
        (raising(KeyError('lr')), 'TRACEBACK'),
        (raising(SystemExit(2)), 'TRACEBACK'),
        (lambda: ({}, 'as before'), 'HARMLESS'),
        (lambda: ({}, 'other'), 'PASSED'),
    ],
)
def test_what_counts_as_what(monkeypatch, tmp_path, job, verdict):
    assert outcome(monkeypatch, tmp_path, job)[0].name == verdict


def test_a_check_that_does_not_end_is_a_failure(monkeypatch, tmp_path):
    def job():
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # it must come through this
                continue

    assert outcome(monkeypatch, tmp_path, job, 0.1)[0] is judge.Verdict.HANG


# ---------------------------------------------------------------------- the script
def test_the_script_counts_and_continues(monkeypatch, tmp_path, capsys):
    calls = []

    def run(folder, files, plan, jobs, home):
        for file in files:
            calls.append(file.name)
            failures = [campaign.Failure(file.name, 'key removed: line 3', 'TRACEBACK', 'KeyError')]
            yield campaign.Result(str(file.relative_to(folder)), {'REPORTED': 9, 'TRACEBACK': 1}, failures)

    monkeypatch.setattr(campaign, 'run', run)
    monkeypatch.setattr(campaign, 'prepared', lambda folder, files: contextlib.nullcontext(tmp_path))
    one, two = (OPTIONS / name for name in SAMPLE[:2])
    monkeypatch.setattr(campaign, 'recipes', lambda folder: {one: one, two: two})
    command = ['--json', str(tmp_path / 'x.json'), '--damages', '10']
    assert mutate_options.main([*command, '--files', str(one)]) == 1
    assert mutate_options.main([*command, '--files', str(one), str(two)]) == 1
    assert calls == [one.name, two.name]
    printed = capsys.readouterr().out
    assert 'TRACEBACK: KeyError' in printed
    assert printed.splitlines()[-1].split() == ['all', '20', '18', '0', '0', '0', '2']
    assert len(json.loads((tmp_path / 'x.json').read_text())['files']) == 2
    assert mutate_options.main([*command, '--files', str(tmp_path / 'none.yml')]) == 1
    assert 'no recipe below' in capsys.readouterr().err
