"""torchrun with restarts: a run that lost a process twice ends with the weights of one that nobody disturbed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from studies.sameness import difference

PROJECT = Path(__file__).resolve().parents[1]
NAME = 'demo_train_rrdb_psnr'
COMMAND = [
    *(sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone', '--max-restarts=3'),
    *('basicsr/train.py', '-opt', str(PROJECT / 'options' / 'train_rrdb_psnr.yml'), '--demo'),
    *('--launcher', 'pytorch', '--auto_resume', '--force_yml'),
    *('network_g:num_feat=8', 'network_g:num_block=1', 'network_g:num_grow_ch=4', 'datasets:train:gt_size=64'),
    *('datasets:train:num_worker_per_gpu=1', 'train:total_iter=40', 'logger:print_freq=1', 'val:val_freq=15'),
    'logger:save_checkpoint_freq=10',
]


def start(folder: Path) -> subprocess.Popen:
    (folder / 'basicsr').mkdir(parents=True)
    (folder / 'basicsr' / 'train.py').write_text((PROJECT / 'basicsr' / 'train.py').read_text())
    (folder / 'datasets').symlink_to(PROJECT / 'datasets')
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(PROJECT)}
    with (folder / 'output.txt').open('w') as output:
        return subprocess.Popen(COMMAND, cwd=folder, env=environment, stdout=output, stderr=output)


def kill_a_process(run: subprocess.Popen, seen: Callable[[], bool]) -> None:
    """SIGKILL the second rank as soon as ``seen`` says so, on a busy machine some iterations later. The other one ends
    within 30 seconds."""
    deadline = time.time() + 240  # on a busy machine the imports alone take a minute
    while not seen():
        assert run.poll() is None
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
    whole, disturbed = tmp_path / 'whole', tmp_path / 'disturbed'
    calm, run = start(whole), start(disturbed)
    output, states = disturbed / 'output.txt', disturbed / 'experiments' / NAME / 'training_states'
    try:
        kill_a_process(run, lambda: 'iter:       2' in output.read_text())  # before the first checkpoint
        kill_a_process(run, lambda: output.read_text().count('Start training') == 2 and (states / '10.state').is_file())
        assert run.wait(timeout=240) == 0, output.read_text()[-3000:]
        assert calm.wait(timeout=240) == 0, (whole / 'output.txt').read_text()[-3000:]
    finally:
        for process in (calm, run):
            process.terminate()  # which ends the ranks, too
    text = output.read_text()
    assert text.count('exitcode: -9') == 2, 'torchrun names the killed process'
    assert text.count('another process has ended, and this one cannot go on without it') <= 2
    assert 'Resuming training from epoch: 0, iter: 10.' in text
    assert 'Traceback' not in text  # of collectives that failed on the other rank
    assert [path.name for path in (disturbed / 'experiments').iterdir()] == [NAME]
    assert [path.name for path in (disturbed / 'tb_logger').iterdir()] == [NAME]
    for file in ('models/net_g_40.pth', 'models/net_g_latest.pth', 'training_states/40.state'):
        assert difference(load(disturbed, file), load(whole, file)) is None
