"""Whole runs through the launchers: train, save, resume, stop, dry run, test, two processes."""

import importlib.machinery
import os
import signal
import subprocess
import sys
import time
import types
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from processes import started, under_torchrun

from ext_core import launch
from ext_core.options import yaml_safe

PROJECT = Path(__file__).resolve().parents[1]
PSNR = ['-opt', str(PROJECT / 'options' / 'train_rrdb_psnr.yml'), '--demo']
SMALL = ['network_g:num_feat=8', 'network_g:num_block=1', 'network_g:num_grow_ch=4', 'datasets:train:gt_size=64',
         'datasets:train:num_worker_per_gpu=0', 'train:total_iter=6', 'logger:save_checkpoint_freq=2',
         'logger:print_freq=2', 'val:val_freq=3']  # fmt: skip
SIZES = [entry.removeprefix('network_g:').split('=') for entry in SMALL if entry.startswith('network_g:')]
NAME = 'demo_train_rrdb_psnr'


@pytest.fixture
def train(tmp_path, monkeypatch, fresh_logger):
    """Run the launcher in this process: ``train(*force_yml, flags=())`` gives (exit status, experiment folder)."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')

    def run(*entries: str, flags: tuple[str, ...] = (), root: Path = tmp_path) -> tuple[int, Path]:
        status = launch.train(root, [*PSNR, *flags, '--force_yml', *SMALL, *entries])
        return status, root / 'experiments' / NAME

    return run


def weights(folder: Path, iteration: int | str) -> dict:
    return torch.load(folder / 'models' / f'net_g_{iteration}.pth', weights_only=True)


def assert_equal_weights(one: dict, other: dict) -> None:
    assert one.keys() == other.keys() == {'params', 'params_ema'}
    for key, tensors in one.items():
        for name, value in tensors.items():
            assert torch.equal(value, other[key][name]), (key, name)


def test_trains_saves_and_validates(train):
    status, folder = train()
    assert status == 0
    assert {path.name for path in (folder / 'models').iterdir()} == {f'net_g_{i}.pth' for i in (2, 4, 6, 'latest')}
    saved = {f'{i}.{suffix}' for i in (2, 4, 6) for suffix in ('state', 'json')}
    assert {path.name for path in (folder / 'training_states').iterdir()} == saved
    log = next(folder.glob('*.log')).read_text()
    assert log.count('Validation demo_val') == 2
    assert 'iter:       6' in log
    assert '-1 day' not in log
    assert '\r' not in log
    assert list((folder.parents[1] / 'tb_logger' / NAME).glob('events*'))


def test_resolved_options_are_saved_and_run_again(train, tmp_path):
    _, folder = train()
    saved = folder / f'{NAME}.yml'
    text = saved.read_text()
    assert 'total_iter: 6' in text
    assert '_base_' not in text
    again = tmp_path / 'again'
    assert launch.train(again, ['-opt', str(saved)]) == 0
    assert_equal_weights(weights(again / 'experiments' / NAME, 6), weights(folder, 6))


def test_state_of_another_experiment_continues_under_a_new_name(train, tmp_path):
    _, folder = train()
    state = folder / 'training_states' / '4.state'
    status, _ = train('name=other', f'path:resume_state={state}')
    assert status == 0
    assert_equal_weights(weights(tmp_path / 'experiments' / 'other', 6), weights(folder, 6))


def test_dry_run_reports_and_leaves_nothing(train, tmp_path, capfd):
    status, _ = train(flags=('--dry-run',))
    assert status == 0
    output = capfd.readouterr().out
    for word in ('parameters', 'GFLOPs', 'peak process memory', 'seconds per iteration'):
        assert word in output
    assert list(tmp_path.iterdir()) == []


def test_wandb_of_today_gets_the_curves(train, tmp_path, monkeypatch):
    """It has no util.generate_id any more, which BasicSR calls; and wants to be started before TensorBoard."""
    wandb, started = types.ModuleType('wandb'), []
    wandb.__spec__ = importlib.machinery.ModuleSpec('wandb', None)
    wandb.util = types.SimpleNamespace()
    wandb.init = lambda **arguments: started.append((arguments, [*(tmp_path / 'tb_logger').rglob('events.*')]))
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    status, _ = train('train:total_iter=1', 'logger:use_tb_logger=true', 'logger:wandb:project=curves')
    assert status == 0
    ((arguments, too_early),) = started
    assert (arguments['project'], arguments['name'], arguments['sync_tensorboard']) == ('curves', NAME, True)
    assert len(arguments['id']) == 8
    assert not too_early
    assert list((tmp_path / 'tb_logger' / NAME).glob('events.*'))


def test_two_runs_of_one_process_have_a_log_each(train, tmp_path):
    """As in a notebook, whose cells run in a thread at times."""
    from concurrent.futures import ThreadPoolExecutor

    one = train('train:total_iter=2', root=tmp_path / 'one')
    with ThreadPoolExecutor(1) as pool:  # where Python handles no signals
        other = pool.submit(train, 'train:total_iter=4', root=tmp_path / 'other').result()
    for (status, folder), last in ((one, 2), (other, 4)):
        assert status == 0
        (log,) = folder.glob('train_*.log')
        assert log.read_text().count('Start training') == 1
        assert f'total_iter: {last}\n' in log.read_text()


def test_debug_mode_runs_under_its_own_name(train, tmp_path):
    assert train('train:total_iter=1', flags=('--debug',))[0] == 0
    assert (tmp_path / 'experiments' / f'debug_{NAME}').is_dir()
    assert not (tmp_path / 'tb_logger').exists()


def test_testing_evaluates_trained_weights(train, tmp_path, capfd):
    _, folder = train()
    capfd.readouterr()
    option_file = tmp_path / 'test.yml'
    metrics = {'_delete_': True, 'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}
    recipe = {'_base_': str(PROJECT / 'options' / 'test_mask_esrgan.yml'), 'val': {'metrics': metrics}}
    option_file.write_text(yaml_safe.dump(recipe))
    trained = f'path:pretrain_network_g={folder / "models" / "net_g_latest.pth"}'
    assert launch.test(tmp_path, ['-opt', str(option_file), '--demo', '--force_yml', *SMALL[:3], trained]) == 0
    assert capfd.readouterr().err.count('# psnr') == 6  # as many sets
    assert {path.name.split('_')[0] for path in (tmp_path / 'results').rglob('*.png')} == {'chelsea', 'coffee'}


ENDLESS = [*SMALL, 'train:total_iter=100000', 'logger:save_checkpoint_freq=100000', 'val:val_freq=100000']


def wait_for(text: str, log: Path, process: BaseProcess) -> None:
    deadline = time.time() + 120
    while text not in log.read_text() and process.is_alive() and time.time() < deadline:
        time.sleep(0.05)
    assert text in log.read_text(), log.read_text()[-2000:]


def launched(folder: Path, *arguments: str) -> int:
    """What ``basicsr/train.py`` does, with results in ``folder``."""
    os.chdir(PROJECT)
    return launch.train(folder, [*PSNR, *arguments])


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP])  # SIGTERM goes to torchrun's processes below
def test_signals_save_and_end_cleanly(tmp_path, number):
    log = tmp_path / 'output.txt'
    process = started(launched, tmp_path, '--force_yml', *ENDLESS, 'datasets:train:num_worker_per_gpu=1', output=log)
    wait_for('iter:       4', log, process)
    os.killpg(process.pid, number)  # as a terminal does: the worker gets it too
    process.join(timeout=60)
    assert process.exitcode == 128 + number, log.read_text()[-2000:]
    text = log.read_text()
    assert f'Stopped by {number.name}' in text
    assert 'Traceback' not in text
    states = list((tmp_path / 'experiments' / NAME / 'training_states').glob('*.state'))
    assert len(states) == 1
    assert torch.load(states[0], weights_only=True)['iter'] == int(states[0].stem)


def rank(folder: Path, *arguments: str) -> None:
    sys.exit(launched(folder, '--launcher', 'pytorch', *arguments))


def test_sigterm_to_every_process_of_torchrun_saves(tmp_path):
    """As Slurm sends it; torchrun's agent passes it on to the ranks, which so get it twice."""
    log = tmp_path / 'output.txt'
    process = under_torchrun(rank, tmp_path, '--force_yml', *ENDLESS, output=log)
    wait_for('iter:       4', log, process)
    ranks = subprocess.run(['pgrep', '-P', str(process.pid)], capture_output=True, text=True).stdout.split()
    for pid in (*map(int, ranks), process.pid):
        os.kill(pid, signal.SIGTERM)
    process.join(timeout=60)
    assert 'Stopped by SIGTERM' in log.read_text(), log.read_text()[-3000:]
    (state,) = (tmp_path / 'experiments' / NAME / 'training_states').glob('*.state')
    assert torch.load(state, weights_only=True)['iter'] == int(state.stem)


def test_error_while_workers_run_ends_the_command(tmp_path):
    """The workers, deaf to signals, must not keep the process from exiting."""
    log = tmp_path / 'output.txt'
    net = build_network({'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, **{key: int(size) for key, size in SIZES}})
    torch.nn.init.constant_(net.conv_last.bias, float('inf'))
    torch.save({'params': net.state_dict()}, tmp_path / 'infinite.pth')
    weights = f'path:pretrain_network_g={tmp_path / "infinite.pth"}'
    entries = [*ENDLESS, 'datasets:train:num_worker_per_gpu=1', weights]
    process = started(launched, tmp_path, '--force_yml', *entries, output=log)
    process.join(timeout=60)
    assert process.exitcode == 1, log.read_text()[-2000:]
    assert 'is not finite' in log.read_text()
    assert 'Traceback' not in log.read_text()


def test_two_processes_train_and_resume(tmp_path):
    """The documented command under torchrun, with gloo; then continued."""
    (tmp_path / 'basicsr').mkdir()
    (tmp_path / 'basicsr' / 'train.py').write_text((PROJECT / 'basicsr' / 'train.py').read_text())
    (tmp_path / 'datasets').symlink_to(PROJECT / 'datasets')
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone']
    arguments = [*PSNR, '--launcher', 'pytorch', '--force_yml', *SMALL, 'train:total_iter=4', 'manual_seed=~']
    command = [*torchrun, 'basicsr/train.py', *arguments]
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(PROJECT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    output = tmp_path / 'output.txt'
    process = under_torchrun(rank, tmp_path, '--auto_resume', '--force_yml', *SMALL, 'manual_seed=~', output=output)
    process.join(timeout=240)
    assert process.exitcode == 0, output.read_text()[-3000:]
    assert 'Resuming training from epoch: 0, iter: 4' in output.read_text()
    folder = tmp_path / 'experiments' / NAME
    assert weights(folder, 6)
    seeds = {
        torch.load(folder / 'training_states' / f'{i}.state', weights_only=True)['ext']['manual_seed'] for i in (4, 6)
    }
    assert len(seeds) == 1  # drawn once, by rank 0, for all ranks and the whole run


def test_a_launcher_and_its_environment_belong_together(train, monkeypatch, capfd):
    for name in ('RANK', 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    for launcher, word in (('pytorch', 'torchrun'), ('slurm', 'srun')):
        assert train(flags=('--launcher', launcher))[0] == 1
        assert word in capfd.readouterr().err
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert train()[0] == 1
    assert 'Add --launcher pytorch' in capfd.readouterr().err


def test_resumed_run_of_a_random_network_equals_the_uninterrupted_one(train, tmp_path):
    """SwinIR with stochastic depth draws from torch's generator in every step."""
    swinir = {'type': 'SwinIR', 'upscale': 4, 'img_size': 16, 'window_size': 8, 'img_range': 1.0, 'depths': [2],
              'embed_dim': 8, 'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect',
              'drop_path_rate': 0.5}  # fmt: skip
    option_file = tmp_path / 'swinir.yml'
    recipe = {'_base_': str(PROJECT / 'options' / 'train_rrdb_psnr.yml'), 'network_g': {'_delete_': True, **swinir}}
    option_file.write_text(yaml_safe.dump(recipe))

    def run(root: Path, total: int, *flags: str) -> dict:
        entries = [*SMALL[3:], f'train:total_iter={total}', 'datasets:train:num_worker_per_gpu=1']
        assert launch.train(root, ['-opt', str(option_file), '--demo', *flags, '--force_yml', *entries]) == 0
        return weights(root / 'experiments' / NAME, total)

    whole = run(tmp_path / 'whole', 5)
    run(tmp_path / 'parts', 3)
    assert_equal_weights(run(tmp_path / 'parts', 5, '--auto_resume'), whole)


def test_new_metric_and_finished_run_can_be_resumed(train):
    _, folder = train()
    status, _ = train('val:metrics:ssim={type: calculate_niqe, crop_border: 4, better: lower}', 'train:total_iter=7',
                      flags=('--auto_resume',))  # fmt: skip
    assert status == 0
    assert train('train:total_iter=7', flags=('--auto_resume',))[0] == 0
    assert weights(folder, 7)
