"""A validation that two processes share gives the figures and pictures of one, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import shared_validation_ranks
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('shared')
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone']
    folders = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': folders}
    done = subprocess.run(
        [*command, shared_validation_ranks.__file__, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*.png')}


@pytest.mark.parametrize('scenario', list(shared_validation_ranks.scenarios()))
def test_figures_and_pictures_are_those_of_one_process(two_processes, tmp_path, scenario):
    alone = shared_validation_ranks.validate(scenario, tmp_path)
    first, second = (torch.load(two_processes / f'{rank}.pth', weights_only=True)[scenario] for rank in (0, 1))
    assert first == alone  # repr() of floats is exact
    assert (first['metric_results'] == 'None') == (scenario == 'without metrics')
    assert second == {'metric_results': 'None', 'best_metric_results': 'None', 'scalars': {}}
    saved = pictures(tmp_path / scenario)
    assert len(saved) == len(shared_validation_ranks.scenarios()[scenario][1])
    assert pictures(two_processes / scenario) == saved
