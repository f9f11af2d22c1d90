"""Trainings are killed and continued: shares, table, and a short run of the script."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies.torture import RECIPES, Result

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script():
    from studies import torture

    return torture


def test_kills_are_shared_among_the_cases(script):
    cases = script.plan(script.parse(['--kills', '103']))
    assert sum(kills for *_, kills in cases) == 103
    forks = [kills for *_, how, kills in cases if how == 'fork']
    assert sum(forks) == 93
    assert len(forks) == 2 * len(RECIPES)
    assert max(forks) - min(forks) <= 1
    few = script.plan(script.parse(['--kills', '3', '--recipes', 'train_pesr', '--processes', '2']))
    assert few == [('train_pesr', 2, 'command', 3)]


def test_a_case_is_identical_only_if_a_run_came_to_its_end(script):
    fine = Result('train_pesr', 1, 'fork', kills=3, writing=1, resumes=3, rounds=1)
    assert [fine.identical, Result('train_pesr', 1, 'fork').identical] == [True, False]
    fine.problems.append('differs')
    last = script.table([fine, Result('train_pesr', 2, 'fork', kills=4, rounds=1)]).splitlines()[-1]
    assert last == '| all |  |  | 7 | 1 | 0 | 0 | 3 | 0 | 2 | no |'


@pytest.mark.parametrize('arguments', [['--kills', '-1'], ['--recipes', 'train_edsr'], ['--processes', '3']])
def test_arguments_are_checked(script, arguments, capsys):
    with pytest.raises(SystemExit):
        script.parse(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_a_short_torture(tmp_path):
    result = tmp_path / 'torture.json'
    place = tmp_path / 'tmp'
    place.mkdir()
    command = [sys.executable, str(ROOT / 'studies' / 'torture.py'), '--kills', '2', '--recipes', 'train_srresnet',
               '--processes', '1', '--commands', '0', '--json', str(result)]  # fmt: skip
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'TMPDIR': str(place)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(result.read_text())
    assert (row['kills'], row['identical'], row['problems']) == (2, True, [])
    assert not [path for path in Path(place).iterdir() if path.name.startswith('torture_')]
