"""A run that is interrupted and continued equals the uninterrupted one: weights, states, curves, whatever changes."""

import copy
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from basicsr.models.base_model import BaseModel
from processes import on_processes
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from ext_core import launch
from ext_core.networks.records import scalars
from ext_core.options import yaml_safe
from ext_core.train.stopping import StopSignal
from ext_core.train.trainer import Trainer
from studies.sameness import difference

PROJECT = Path(__file__).resolve().parents[2]
NAME = 'demo_train_rrdb_psnr'
SMALL = ['network_g:num_feat=4', 'network_g:num_block=1', 'network_g:num_grow_ch=4', 'datasets:train:gt_size=32',
         'datasets:train:num_worker_per_gpu=0', 'datasets:train:dataset_enlarge_ratio=1',
         'datasets:train:batch_size_per_gpu=12', 'train:total_iter=8', 'logger:save_checkpoint_freq=4',
         'logger:print_freq=1', 'val:val_freq=4']  # fmt: skip  # five batches an epoch

# keys that the recipe does not have, and a command line therefore cannot set
ADDED = {
    'datasets': {'train': {'persistent_workers': False}},
    'path': {'param_key_g': 'params', 'strict_load_g_except': None},
}


def start(root: Path, entries: tuple[str, ...], flags: tuple[str, ...] = ()) -> Path:
    """Train in this process; gives the experiment's folder."""
    root.mkdir(exist_ok=True)
    if '--auto_resume' in flags:  # event files are read by their names, of which the second counts before all else
        time.sleep(1 - time.time() % 1)
    option_file = root / 'train_rrdb_psnr.yml'
    recipe = PROJECT / 'options' / 'train_rrdb_psnr.yml'
    option_file.write_text(yaml_safe.dump({'_base_': str(recipe), **ADDED}))
    assert launch.train(root, ['-opt', str(option_file), '--demo', *flags, '--force_yml', *SMALL, *entries]) == 0
    return root / 'experiments' / NAME


@pytest.fixture
def train(tmp_path, monkeypatch, fresh_logger, unchecked):
    """``train(root, *force_yml, flags=())`` trains below the test's folder and gives the experiment's."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    return lambda root, *entries, flags=(): start(tmp_path / root, entries, flags)


def outcome(folder: Path) -> dict:
    files = [folder / 'models' / 'net_g_8.pth', folder / 'training_states' / '8.state']
    return {file.name: torch.load(file, weights_only=True) for file in files}


def curves(folder: Path) -> dict:
    return scalars(folder.parents[1] / 'tb_logger' / NAME)


def forget(folder: Path, iteration: int) -> None:
    """As if the run had been killed before this checkpoint."""
    for file in folder.rglob('*'):
        if re.search(rf'(?<!\d){iteration}\.|latest', file.name) and 'events' not in file.name:
            file.unlink()


CHANGES = {
    'workers': ['datasets:train:num_worker_per_gpu=2'],
    'persistent workers': ['datasets:train:num_worker_per_gpu=1', 'datasets:train:persistent_workers=true'],
    'prefetching': ['datasets:train:num_worker_per_gpu=1', 'datasets:train:prefetch_mode=cpu'],
    'how often it logs and validates': ['logger:print_freq=3', 'val:val_freq=1', 'logger:save_checkpoint_freq=2'],
}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The end of the uninterrupted run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(PROJECT)
        patch.setenv('CUDA_VISIBLE_DEVICES', '')
        folder = start(tmp_path_factory.mktemp('whole'), ())
    return outcome(folder), curves(folder)


@pytest.mark.parametrize('change', CHANGES)
def test_what_only_concerns_speed_or_the_log_may_change(train, whole, change):
    train('parts', 'train:total_iter=4')
    ours = outcome(train('parts', *CHANGES[change], flags=('--auto_resume',)))
    for one in (ours, whole[0]):
        for key in ('best', 'validated_at'):  # of other validations
            one['8.state']['ext'].pop(key, None)
    assert difference(whole[0], ours) is None


class Killed(BaseException):
    """Ends a run like nothing that the code expects."""


def test_curves_have_each_iteration_once(train, whole, tmp_path, monkeypatch):
    """The run ends two iterations after its checkpoint, and has written about them all."""
    calls = []

    def die(self) -> None:  # asked at the end of each iteration
        calls.append('iteration')
        if calls.count('iteration') == 6:
            raise Killed

    def noted(method, name: str):
        return lambda self, *args: (calls.append(name), method(self, *args))[1]

    with monkeypatch.context() as patch:
        patch.setattr(StopSignal, 'agreed', die)
        patch.setattr(SummaryWriter, 'flush', noted(SummaryWriter.flush, 'events'))
        patch.setattr(Trainer, '_write_networks', noted(Trainer._write_networks, 'checkpoint'))
        with pytest.raises(Killed):
            train('parts')
    # no gap: what leads to a checkpoint is on the disk before it
    assert [call for call in calls if call != 'iteration'][:2] == ['events', 'checkpoint']
    folder = train('parts', flags=('--auto_resume',))
    assert len(list((tmp_path / 'parts' / 'tb_logger' / NAME).iterdir())) == 2
    assert curves(folder) == whole[1]
    assert [step for step, _ in whole[1]['losses/l_pix']] == list(range(1, 9))
    log = max(folder.glob('*.log'), key=lambda file: file.stat().st_mtime_ns).read_text()
    assert 'iter: 4. What earlier logs of this run say of later iterations is void.' in log


def test_a_finished_run_is_not_validated_again(train, whole):
    """Nor where its last validation came after its last checkpoint."""
    first = curves(train('parts', 'val:val_freq=5'))
    again = curves(train('parts', 'val:val_freq=5', flags=('--auto_resume',)))
    assert [step for step, _ in again['metrics/demo_val/psnr']] == [5, 8]
    assert again == first


def test_own_checkpoints_are_loaded_whole(train, tmp_path):
    """Also where of the pretrained weights a layer was left out, and they had no key."""
    weights = torch.load(train('pretrained', 'train:total_iter=1') / 'models' / 'net_g_1.pth', weights_only=True)
    torch.save(weights['params'], tmp_path / 'bare.pth')
    entries = [f'path:pretrain_network_g={tmp_path / "bare.pth"}', 'path:strict_load_g_except=[conv_last]',
               'path:param_key_g=~']  # fmt: skip
    folder = train('parts', *entries)
    expected = outcome(folder)
    forget(folder, 8)
    assert difference(expected, outcome(train('parts', *entries, flags=('--auto_resume',)))) is None


def test_averaged_weights_come_from_the_key_that_is_named_and_resume_from_their_own(train, tmp_path):
    weights = torch.load(train('pretrained', 'train:total_iter=1') / 'models' / 'net_g_1.pth', weights_only=True)
    torch.save({'mine': weights['params'], 'params_ema': weights['params_ema'], 'epoch': 1}, tmp_path / 'own.pth')
    entries = [f'path:pretrain_network_g={tmp_path / "own.pth"}', 'path:param_key_g=mine', 'train:total_iter=8']
    folder = train('parts', *entries)
    expected = outcome(folder)
    forget(folder, 8)
    assert difference(expected, outcome(train('parts', *entries, flags=('--auto_resume',)))) is None


# ---------------------------------------------------------------------- three processes
STEPS = 3


def take_steps(wrapped: nn.Module, optimizer: torch.optim.Optimizer, rank: int, first: int) -> None:
    for iteration in range(first, first + STEPS):
        images = torch.randn(4, 200, generator=torch.Generator().manual_seed(10 * iteration + rank))
        optimizer.zero_grad()
        wrapped(images).square().mean().backward()
        optimizer.step()


def wrapped_network() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Sequential(nn.Linear(200, 200), nn.Tanh()) for _ in range(6)))
    model = SimpleNamespace(opt={'dist': True, 'num_gpu': 0}, device=torch.device('cpu'))
    return BaseModel.model_to_device(model, net), torch.optim.Adam(net.parameters())


def trains_again_alike(rank: int) -> bool:
    one, optimizer = wrapped_network()
    take_steps(one, optimizer, rank, first=0)
    other, resumed = wrapped_network()
    other.load_state_dict(one.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # else both work on the same averages
    for wrapped, its_optimizer in ((one, optimizer), (other, resumed)):
        take_steps(wrapped, its_optimizer, rank, first=STEPS)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_three_processes_add_gradients_in_the_same_order_after_a_resume():
    """DistributedDataParallel fills its buckets anew in the second iteration after a start, see
    ``ext_core.compat.distribution``; the network is large enough for the ranks' sums to depend on that."""
    assert on_processes(trains_again_alike, count=3) == [True] * 3
