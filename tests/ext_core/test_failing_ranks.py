"""Two processes under torchrun: where one fails both end soon, and the first error is told, once."""

from typing import NamedTuple

import failing_ranks
import pytest
from processes import under_torchrun


class Outcome(NamedTuple):
    status: int
    text: str  # what the processes say, and torchrun meanwhile
    report: str  # torchrun's, on the root cause


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp('failing')
    runs = {name: under_torchrun(failing_ranks.start, name, output=folder / name) for name in failing_ranks.SCENARIOS}
    found = {}
    for name, run in runs.items():
        run.join(timeout=failing_ranks.LONG / 2)
        ours, _, report = (folder / name).read_text().partition('Root Cause')
        found[name] = Outcome(run.exitcode, ours, report)
    return found


def test_bug_is_told_with_its_traceback_and_once(outcomes):
    status, text, report = outcomes['bug_of_one']
    assert status == 1
    assert text.count('[rank 1] error: Traceback (most recent call last):') == 1
    assert "raise KeyError('a bug')" in text
    assert 'closed by peer' not in text
    assert "KeyError: 'a bug'" in report


def test_error_is_told_once_by_its_rank(outcomes):
    status, text, report = outcomes['error_of_one']
    assert status == 1
    assert text.count('[rank 1] error: bad option.\nMend it.') == 1
    assert text.count('error: ') == 1
    assert 'bad option.' in report


def test_error_of_all_is_told_once(outcomes):
    status, text, _ = outcomes['error_of_all']
    assert status == 1
    assert text.count('error: the loss is not finite.') == 1


def test_death_ends_the_other_without_a_traceback(outcomes):
    status, text, report = outcomes['killed']
    assert status == 1
    assert 'Signal 9 (SIGKILL)' in report
    assert 'error: another process has ended, and this one cannot go on without it' in text
    assert 'barrier()' not in text


def test_nobody_leaves_before_all_have_ended(outcomes):
    status, text, _ = outcomes['uneven_ends']
    assert status == 0
    words = [line for line in text.splitlines() if line.startswith(('done', 'left'))]
    assert sorted(words[:2]) == ['done 0', 'done 1']
    assert words[2:] == ['left', 'left']
