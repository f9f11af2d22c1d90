"""Checkpoints of whole runs: full disks, damaged files, what is removed, and states that BasicSR wrote."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_recipe

from ext_core import launch
from ext_core.networks.records import scalars
from ext_core.options import yaml_safe
from ext_core.train.checkpoint import verify
from ext_core.train.models import checkpoint_networks
from ext_core.train.trainer import Trainer
from ext_models.ext_sr_model import ExtSRModel
from studies.sameness import difference


class Runs:
    """A tiny recipe that saves every second iteration; ``self(6, '--auto_resume')`` gives the exit status."""

    def __init__(self, root: Path):
        self.root = root
        self.folder = root / 'experiments' / 'demo_saving'
        self.models, self.states = self.folder / 'models', self.folder / 'training_states'

    def __call__(self, total_iter: int, *flags: str, name: str = 'saving', path: dict | None = None, **logger) -> int:
        small = tiny_recipe(name, total_iter, **logger) | {'path': path or {}}
        option_file = self.root / f'{name}.yml'
        option_file.write_text(yaml_safe.dump(small))
        return launch.train(self.root, ['-opt', str(option_file), '--demo', *flags])

    def newest_log(self) -> str:
        return max(self.folder.glob('*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()


@pytest.fixture
def runs(tmp_path, in_project, unchecked) -> Runs:
    return Runs(tmp_path)


def loaded(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_best_network_comes_with_its_figures_also_into_another_experiment(runs):
    assert runs(4) == 0
    figures = json.loads((runs.models / 'net_g_best.json').read_text())
    state = loaded(runs.states / '4.state')['ext']['best']['demo_val']['psnr']
    assert (figures['dataset'], figures['metric']) == ('demo_val', 'psnr')
    assert (figures['value'], figures['iter']) == (state['val'], state['iter'])
    best = runs.models / 'net_g_best.pth'
    assert difference(loaded(best), loaded(runs.models / f'net_g_{figures["iter"]}.pth')) is None
    before = best.read_bytes()
    # nothing is trained there, so there is no validation that could save another
    assert runs(4, name='onwards', path={'resume_state': str(runs.states / '4.state')}) == 0
    assert (runs.root / 'experiments' / 'demo_onwards' / 'models' / 'net_g_best.pth').read_bytes() == before


def test_the_best_network_is_replaced_by_better_ones_only_also_in_a_resumed_run(runs):
    assert runs(6) == 0
    values = [float(value) for value in re.findall(r'# psnr: ([\d.]+)', runs.newest_log())]
    assert len(values) == 3
    best = loaded(runs.models / f'net_g_{2 * (1 + values.index(max(values)))}.pth')
    assert difference(loaded(runs.models / 'net_g_best.pth'), best) is None
    state = loaded(runs.states / '6.state')
    state['ext']['best']['demo_val']['psnr']['val'] = 99.0  # nothing that follows is better
    torch.save(state, runs.states / '6.state')
    (runs.states / '6.json').unlink()  # it has the checksum of the other
    for log in runs.folder.glob('*.log'):
        log.unlink()  # a run of the same second would write into this one
    assert runs(8, '--auto_resume') == 0
    assert 'Best psnr' not in runs.newest_log()
    assert difference(loaded(runs.models / 'net_g_best.pth'), best) is None


@pytest.mark.parametrize(('name', 'whole'), [('net_g_4.pth', 2), ('4.state', 2), ('4.json', 4)])
def test_full_disk_stops_the_run_and_it_can_be_continued(runs, monkeypatch, capfd, name, whole):
    replace = os.replace

    def failing(source, target):
        if Path(target).name == name:
            raise OSError(28, 'No space left on device')
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', failing)
        assert runs(6, keep_last=1) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert f'{name} could not be written: [Errno 28] No space left on device. Free disk space' in error
    assert not (runs.states / '4.json').exists()
    assert not (runs.models / 'net_g_6.pth').exists()
    assert not list(runs.folder.rglob('.*.tmp'))
    verify(runs.states, 2)
    assert runs(6, '--auto_resume', keep_last=1) == 0
    assert f'Resuming training from epoch: 0, iter: {whole}' in runs.newest_log()
    verify(runs.states, 6)


def test_only_the_last_are_kept_with_the_best_and_the_latest(runs):
    assert runs(8, keep_last=1, save_in_background=False) == 0
    assert {path.name for path in runs.states.iterdir()} == {'8.state', '8.json'}
    kept = {'net_g_8.pth', 'net_g_best.pth', 'net_g_best.json', 'net_g_latest.pth'}
    assert {path.name for path in runs.models.iterdir()} == kept
    named = json.loads((runs.states / '8.json').read_text())['files']
    assert set(named) == {'8.state', '../models/net_g_8.pth'}
    assert 'logger:save_in_background has no effect' in runs.newest_log()


def test_checkpoint_is_on_the_disk_before_the_next_iteration(runs, monkeypatch):
    found, train_on = {}, Trainer._train_on

    def looking(self, batch):
        if self.iteration in (2, 4):
            verify(runs.states, self.iteration, [runs.models / f'net_g_{self.iteration}.pth'])
            weights = {key: net.state_dict() for key, net in checkpoint_networks(self.model)['net_g'].items()}
            assert difference(weights, loaded(runs.models / f'net_g_{self.iteration}.pth')) is None
            found[self.iteration] = loaded(runs.states / f'{self.iteration}.state')['iter']
        train_on(self, batch)

    monkeypatch.setattr(Trainer, '_train_on', looking)
    assert runs(6) == 0
    assert found == {2: 2, 4: 4}


def test_damaged_iterations_are_skipped_and_the_log_says_why(runs, capfd):
    assert runs(8) == 0
    newest = runs.models / 'net_g_8.pth'
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1  # still loads, as often as not
    newest.write_bytes(content)
    (runs.states / '6.json').write_text((runs.states / '4.json').read_text())
    whole = loaded(runs.models / 'net_g_latest.pth')
    capfd.readouterr()
    assert runs(8, '--auto_resume') == 0
    said, log = capfd.readouterr().out, runs.newest_log()
    for text in (said, log):
        assert 'skipping iteration 8:' in text
        assert 'net_g_8.pth is damaged, or of another iteration: its checksum is not the one saved.' in text
        assert 'skipping iteration 6:' in text
        assert '6.json names files that are not those of iteration 6.' in text
    assert 'iter: 4.' in log
    assert difference(loaded(newest), whole) is None
    verify(runs.states, 8)


def test_states_of_basicsr_are_continued(runs):
    """Its format, and no manifest: state and weights are checked by loading them."""
    assert runs(4) == 0
    for iteration in (2, 4):
        (runs.states / f'{iteration}.json').unlink()
        state = loaded(runs.states / f'{iteration}.state')
        plain = {key: state[key] for key in ('epoch', 'iter', 'optimizers', 'schedulers')}
        torch.save(plain, runs.states / f'{iteration}.state')
    torch.save(loaded(runs.states / '2.state'), runs.states / '4.state')  # a state under another's name
    assert runs(6, '--auto_resume') == 0
    log = runs.newest_log()
    assert '4.state is the state of iteration 2.' in log
    assert 'iter: 2.' in log
    verify(runs.states, 6)


class Killed(BaseException):
    """Ends a run like nothing that the code expects."""


@pytest.mark.parametrize(
    ('error', 'saves'),
    # what ends the process at once loses what was not due
    [(FileNotFoundError('a.png'), 2), (torch.OutOfMemoryError('8 GiB'), 100), (Killed(), 2)],
)
def test_a_validation_that_fails_loses_nothing(runs, monkeypatch, capfd, error, saves):
    """Also an iteration that was not to be saved is there; the run goes on as if nothing had happened."""
    assert runs(5, name='whole', save_checkpoint_freq=saves) == 0
    validation = ExtSRModel.validation

    def failing(self, loader, current_iter, *args):
        validation(self, loader, current_iter, *args)
        if current_iter == 4:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(ExtSRModel, 'validation', failing)
        if isinstance(error, torch.OutOfMemoryError):  # a RuntimeError, which is explained
            assert runs(5, save_checkpoint_freq=saves) == 1
            assert 'continue with --auto_resume' in capfd.readouterr().err
        else:
            with pytest.raises(type(error)):
                runs(5, save_checkpoint_freq=saves)
    assert sorted(path.name for path in runs.states.glob('*')) == sorted(
        f'{iteration}.{kind}' for iteration in ({2: (2, 4), 100: (4,)}[saves]) for kind in ('json', 'state')
    )
    verify(runs.states, 4)
    assert runs(5, '--auto_resume', save_checkpoint_freq=saves) == 0
    figures = scalars(runs.root / 'tb_logger' / 'demo_saving')['metrics/demo_val/psnr']
    assert len({step for step, _ in figures}) == len(figures), 'each figure once, also of a validation that is repeated'
    other = runs.root / 'experiments' / 'demo_whole'
    for name in ('training_states/5.state', 'models/net_g_5.pth', 'models/net_g_best.pth'):
        assert difference(loaded(other / name), loaded(runs.folder / name)) is None


def test_memory_that_runs_out_in_a_step_is_explained(runs, monkeypatch, capfd):
    step = ExtSRModel.optimize_parameters

    def failing(self, current_iter):
        if current_iter == 3:
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 8.00 GiB.')
        step(self, current_iter)

    monkeypatch.setattr(ExtSRModel, 'optimize_parameters', failing)
    assert runs(4) == 1
    error = capfd.readouterr().err
    assert 'on 2 images of 8 x 8 pixels: CUDA out of memory' in error
    for remedy in ('batch_size_per_gpu', 'gt_size', 'train:accumulate', 'train:amp'):
        assert remedy in error
    verify(runs.states, 2)


CHANGED = {
    'network_g:num_feat=8': 'is of other networks: network_g:num_feat was 4, is 8.',
    'train:optim_g:type=AdamW': 'train:optim_g:type was Adam, is AdamW, but the state holds that of the other type.',
}


@pytest.mark.parametrize('entry', CHANGED)
def test_a_state_of_other_networks_or_optimizers_is_not_taken(runs, capfd, entry):
    assert runs(2) == 0
    before = {path: path.stat().st_mtime_ns for path in runs.folder.rglob('*')}
    assert runs(4, '--auto_resume', '--force_yml', entry) == 1
    assert CHANGED[entry] in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in runs.folder.rglob('*')} == before


def test_what_a_resumed_run_takes_up_is_said_key_by_key(runs, capfd):
    assert runs(2) == 0
    capfd.readouterr()
    entries = ['train:optim_g:lr=0.5', 'train:scheduler:milestones=[3]', 'train:pixel_opt:loss_weight=0.5']
    assert runs(4, '--auto_resume', '--force_yml', *entries) == 0
    said = capfd.readouterr().out
    assert re.search(r'resumed: train:optim_g:lr was [\d.e-]+, is 0\.5: no effect, .*--reset_optim', said)
    assert re.search(r'resumed: train:scheduler:milestones was \[.*\], is \[3\]: no effect', said)
    assert 'resumed: train:pixel_opt:loss_weight was 1.0, is 0.5: takes effect from iteration 3 on.' in said
    assert 'resumed: train:total_iter was 2, is 4: takes effect from iteration 3 on.' in said
    assert said.count('resumed: ') == 4
    assert 'resumed: train:optim_g:lr was' in runs.newest_log()
    (rate,) = {group['lr'] for group in loaded(runs.states / '4.state')['optimizers'][0]['param_groups']}
    assert rate < 0.1


def test_new_optimizers_and_schedules_at_the_present_iteration(runs, capfd):
    """Also of other types; the rate is that of a run which had the schedule from the start."""
    entries = ['train:optim_g={type: AdamW, lr: 0.01, weight_decay: 0.125}', 'train:warmup_iter=2',
               'train:scheduler={type: MultiStepLR, milestones: [1, 4], gamma: 0.5}']  # fmt: skip
    assert runs(6, '--force_yml', *entries, name='from_the_start') == 0
    assert runs(4) == 0
    capfd.readouterr()
    assert runs(6, '--auto_resume', '--reset_optim', '--force_yml', *entries) == 0
    said = capfd.readouterr().out
    assert 'resumed: train:optim_g:type was Adam, is AdamW: takes effect from iteration 5 on.' in said
    assert 'no effect' not in said
    one, other = (
        loaded(runs.root / 'experiments' / name / 'training_states' / '6.state')
        for name in ('demo_from_the_start', 'demo_saving')
    )
    assert other['schedulers'] == one['schedulers']
    assert other['optimizers'][0]['param_groups'] == one['optimizers'][0]['param_groups']
    assert {int(value['step']) for value in other['optimizers'][0]['state'].values()} == {2}
    assert runs(8, '--auto_resume', '--force_yml', *entries) == 0  # from then on they are the state's
    later = loaded(runs.states / '8.state')['optimizers'][0]['state']
    assert {int(value['step']) for value in later.values()} == {4}


def test_new_optimizers_need_a_run_that_goes_on(runs, capfd):
    assert runs(2, '--reset_optim') == 1
    assert 'Add --auto_resume' in capfd.readouterr().err
    assert not runs.folder.exists()
