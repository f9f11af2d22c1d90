"""torchrun with restarts: a run that lost a process twice ends with the weights of one that nobody disturbed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from processes import under_torchrun

from ext_core import launch
from studies.sameness import difference

PROJECT = Path(__file__).resolve().parents[1]
NAME = 'demo_train_rrdb_psnr'
ARGUMENTS = [
    *('-opt', str(PROJECT / 'options' / 'train_rrdb_psnr.yml'), '--demo'),
    *('--launcher', 'pytorch', '--auto_resume', '--force_yml'),
    *('network_g:num_feat=8', 'network_g:num_block=1', 'network_g:num_grow_ch=4', 'datasets:train:gt_size=64'),
    *('datasets:train:num_worker_per_gpu=0', 'train:total_iter=20', 'logger:print_freq=1', 'val:val_freq=15'),
    'logger:save_checkpoint_freq=10',
]


def train(folder: Path) -> None:
    os.chdir(PROJECT)
    sys.exit(launch.train(folder, ARGUMENTS))


def kill_a_process(run: BaseProcess, seen: Callable[[], bool]) -> None:
    """SIGKILL the second rank as soon as ``seen`` says so, on a busy machine some iterations later. The other one ends
    within 30 seconds."""
    deadline = time.time() + 240
    while not seen():
        assert run.is_alive()
        assert time.time() < deadline
        time.sleep(0.01)
    ranks = [
        int(rank)
        for rank in subprocess.run(['pgrep', '-P', str(run.pid)], capture_output=True, text=True).stdout.split()
    ]
    os.kill(max(ranks), signal.SIGKILL)
    others, deadline = [Path(f'/proc/{rank}') for rank in ranks if rank != max(ranks)], time.time() + 30
    while any(other.exists() for other in others):
        assert time.time() < deadline, 'a killed rank takes the others down'
        time.sleep(0.1)


def load(folder: Path, file: str) -> dict:
    return torch.load(folder / 'experiments' / NAME / file, weights_only=True)


def test_killed_processes_are_started_again_and_change_nothing(tmp_path):
    whole, disturbed, output = tmp_path / 'whole', tmp_path / 'disturbed', tmp_path / 'disturbed.txt'
    calm = under_torchrun(train, whole, output=tmp_path / 'whole.txt')
    run = under_torchrun(train, disturbed, output=output, restarts=3)
    states = disturbed / 'experiments' / NAME / 'training_states'
    try:
        kill_a_process(run, lambda: 'iter:       1' in output.read_text())  # before the first checkpoint
        kill_a_process(run, lambda: output.read_text().count('Start training') == 2 and (states / '10.state').is_file())
        for process in (run, calm):
            process.join(timeout=240)
        assert (run.exitcode, calm.exitcode) == (0, 0), output.read_text()[-3000:]
    finally:
        for process in (calm, run):
            process.terminate()  # which ends the ranks, too
    text = output.read_text()
    assert text.count('exitcode: -9') == 2, 'torchrun names the killed process'
    assert text.count('another process has ended, and this one cannot go on without it') <= 2
    assert 'Resuming training from epoch: 0, iter: 10.' in text
    assert '\nTraceback' not in text  # of collectives that failed on the other rank; torchrun's own are indented
    assert [path.name for path in (disturbed / 'experiments').iterdir()] == [NAME]
    assert [path.name for path in (disturbed / 'tb_logger').iterdir()] == [NAME]
    for file in ('models/net_g_20.pth', 'models/net_g_latest.pth', 'training_states/20.state'):
        assert difference(load(disturbed, file), load(whole, file)) is None
