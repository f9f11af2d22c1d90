"""Three gloo processes without an agent: one's failure or death ends all, and is told once, first and by its name."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import lifeline_ranks
import pytest

ROOT = Path(__file__).resolve().parents[2]
DEAD = 'ended without a message'


class Outcome(NamedTuple):
    statuses: list[int]
    seconds: float
    lines: list[str]


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp('lifeline')
    command = [sys.executable, lifeline_ranks.__file__, str(folder)]
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    environment['PYTHONUNBUFFERED'] = '1'  # print would write the end of a line by itself
    subprocess.run(command, env=environment, timeout=2 * lifeline_ranks.LONG, check=True)
    return {
        name: Outcome(
            **json.loads((folder / f'{name}.json').read_text()), lines=(folder / f'{name}.txt').read_text().splitlines()
        )
        for name in lifeline_ranks.SCENARIOS
    }


def stopped(rank: int, first: int, summary: str) -> str:
    return f'[rank {rank}] stopped, because rank {first} failed: {summary}'


def test_traceback_comes_first_whole_and_once(outcomes):
    outcome = outcomes['error']
    assert outcome.statuses == [1, 1, 1]
    assert outcome.lines[0] == '[rank 1] error: Traceback (most recent call last):'
    assert outcome.lines[-3] == "KeyError: 'a bug'"
    assert any("raise KeyError('a bug')" in line for line in outcome.lines)
    assert sorted(outcome.lines[-2:]) == [stopped(rank, 1, "KeyError: 'a bug'") for rank in (0, 2)]
    assert '\n'.join(outcome.lines).count('Traceback') == 1


def test_error_ends_ranks_that_are_in_no_collective(outcomes):
    outcome = outcomes['error_while_others_wait']
    assert outcome.statuses == [1, 1, 1]
    assert outcome.seconds < lifeline_ranks.LONG / 2
    assert outcome.lines[:2] == ['[rank 1] error: bad option.', 'Mend it.']
    assert sorted(outcome.lines[2:]) == [stopped(rank, 1, 'bad option.') for rank in (0, 2)]


def test_error_of_the_first_rank(outcomes):
    outcome = outcomes['error_of_first']
    assert outcome.statuses == [1, 1, 1]
    assert outcome.lines[0] == 'error: bad option.'
    assert sorted(outcome.lines[1:]) == [stopped(rank, 0, 'bad option.') for rank in (1, 2)]


def test_error_of_all_is_told_once(outcomes):
    outcome = outcomes['error_of_all']
    assert outcome.statuses == [1, 1, 1]
    assert len([line for line in outcome.lines if 'error: the loss is not finite.' in line]) == 1
    assert len([line for line in outcome.lines if 'stopped, because rank' in line]) == len(outcome.lines) - 1 == 2


@pytest.mark.parametrize(
    ('scenario', 'dead'), [('killed', 1), ('killed_with_worker', 1), ('killed_under_torchrun', 1), ('first_killed', 0)]
)
def test_death_is_noticed(outcomes, scenario, dead):
    outcome = outcomes[scenario]
    alive = [rank for rank in range(3) if rank != dead]
    assert outcome.statuses == [-9 if rank == dead else 1 for rank in range(3)]
    assert outcome.seconds < lifeline_ranks.LONG / 2
    assert [line.partition(f': {DEAD}')[0] for line in sorted(outcome.lines)] == [
        stopped(rank, dead, DEAD).removesuffix(f': {DEAD}') for rank in alive
    ]


def test_nobody_leaves_before_all_have_ended(outcomes):
    outcome = outcomes['uneven_ends']
    assert outcome.statuses == [0, 0, 0]
    assert sorted(outcome.lines[:3]) == ['done 0', 'done 1', 'done 2']
    assert sorted(outcome.lines[3:]) == ['left 0', 'left 1', 'left 2']


def test_interrupted_ranks_say_so_once(outcomes):
    outcome = outcomes['interrupted']
    assert outcome.statuses == [130, 130, 130]
    assert sum('error: interrupted' in line for line in outcome.lines) == 1
