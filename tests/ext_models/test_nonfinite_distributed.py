"""Two processes decide alike about a batch that only one of them saw go bad."""

import json
from pathlib import Path

import nonfinite_distributed
import pytest
import torch
from nonfinite_runs import assert_same
from two_processes import run_on_two


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Where two gloo processes ran all scenarios."""
    output = tmp_path_factory.mktemp('nonfinite')
    run_on_two(nonfinite_distributed, output)
    return output


def results(folder: Path, scenario: str) -> list[dict]:
    return [json.loads((folder / f'rank{rank}.json').read_text())[scenario] for rank in range(2)]


def states(folder: Path, scenario: str) -> list[dict]:
    return [torch.load(folder / scenario / f'state{rank}.pth', weights_only=True) for rank in range(2)]


def written(folder: Path, scenario: str) -> list[str]:
    return sorted(path.name for path in (folder / scenario / 'nonfinite').iterdir())


@pytest.mark.parametrize('scenario', ['skip', 'gradient'])
def test_both_ranks_end_as_if_the_batch_had_never_been_drawn(folder, scenario):
    for got, expected in zip(states(folder, scenario), states(folder, f'{scenario} expected'), strict=True):
        assert_same(got, expected)


def test_both_ranks_count_and_the_one_with_the_bad_loss_writes(folder):
    assert results(folder, 'skip') == [{'count': 2}, {'count': 2}]
    assert written(folder, 'skip') == ['iter_3_rank1', 'iter_5_rank1']


def test_a_gradient_is_everyones(folder):
    assert results(folder, 'gradient') == [{'count': 1}, {'count': 1}]
    assert written(folder, 'gradient') == ['iter_7_rank0', 'iter_7_rank1']


def test_rollback_on_both_ranks(folder):
    """Batch 6 is the second here, and the first checkpoint comes with the fourth: there is none to go back to."""
    for result in results(folder, 'rollback'):
        assert 'there is no checkpoint to go back to' in result['error']


def test_stop_names_loss_and_folder_on_both_ranks(folder):
    first, second = results(folder, 'stop')
    assert first == second
    assert first['error'].startswith('Iteration 3: loss l_pix is not finite, so training stops here')
    assert f'Its batch is in {folder / "stop" / "nonfinite" / "iter_3_rank1"}.' in first['error']
