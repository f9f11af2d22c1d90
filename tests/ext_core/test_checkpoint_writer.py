"""The background writer: what it saves, when the loop waits, and how errors reach it."""

import copy
import json
import os
import resource
import threading
from pathlib import Path

import pytest
import torch
from torch import nn
from writer_tools import Holder, Trained, assert_same, contents
from writer_tools import trained as trained

from ext_core.errors import UserError
from ext_core.saving import writer as checkpoint_writer
from ext_core.saving.checkpoint import load_checkpoint, sum_of
from ext_core.saving.manifest import verify


@pytest.mark.parametrize('background', [True, False])
def test_each_checkpoint_is_that_of_its_iteration(tmp_path, background):
    trained = Trained(tmp_path, in_background=background)
    expected = {}
    with trained.writer:
        for _ in range(5):
            trained.step()
            nets = {'params': trained.net.state_dict(), 'params_ema': trained.average.state_dict()}
            optimizer = trained.adam.state_dict()
            expected[trained.iteration] = copy.deepcopy([nets, optimizer, trained.model.schedulers[0].state_dict()])
            trained.save()
    for iteration, (nets, optimizer, scheduler) in expected.items():
        weights, state = contents(trained, iteration)
        assert_same(weights, nets)
        assert_same(state['optimizers'], [optimizer])
        assert_same(state['schedulers'], [scheduler])
        assert state['iter'] == iteration
        verify(trained.states, iteration, [trained.models / f'net_g_{iteration}.pth'])


def test_loop_goes_on_until_weights_would_change(trained, monkeypatch):
    """Forward and backward run while nothing is copied yet; the optimizer waits; running statistics are saved as they
    were before."""
    trained.step()
    trained.save()
    trained.writer.drain()
    before = copy.deepcopy(trained.net.state_dict())
    holder = Holder(monkeypatch, trained.writer._snapshots, 'take')
    trained.save()  # takes the running statistics here, in this thread
    assert holder.reached.wait(20)
    trained.net(torch.rand(2, 1, 8, 8)).mean().backward()
    assert not torch.equal(trained.net[1].running_mean, before['1.running_mean'])
    order = []
    threading.Timer(0.1, lambda: (order.append('copied'), holder.go.set())).start()
    trained.adam.step()
    order.append('changed')
    assert order == ['copied', 'changed']
    assert trained.writer.waited > 0
    trained.writer.drain()
    assert_same(contents(trained, 1)[0]['params'], before)


def test_moving_average_waits_too(trained, monkeypatch):
    trained.step()
    average = copy.deepcopy(trained.average.state_dict())
    holder = Holder(monkeypatch, trained.writer._snapshots, 'take')
    trained.save()
    threading.Timer(0.1, holder.go.set).start()
    trained.model.model_ema()
    assert not torch.equal(trained.average.weight, average['weight'])
    trained.writer.drain()
    assert_same(contents(trained, 1)[0]['params_ema'], average)


def test_writing_does_not_hold_the_loop_but_a_second_checkpoint_waits(trained, monkeypatch):
    holder = Holder(monkeypatch, checkpoint_writer, 'atomic_save')
    trained.step()
    trained.save()
    assert holder.reached.wait(20)
    trained.step()  # changes what is being written
    assert not list(trained.models.glob('*.pth'))
    threading.Timer(0.1, holder.go.set).start()
    trained.save()
    assert (trained.states / '1.json').is_file()  # the first is whole when the second begins
    trained.writer.drain()
    verify(trained.states, 2)


def test_weights_that_change_elsewhere_are_noticed(trained, monkeypatch):
    trained.step()
    holder = Holder(monkeypatch, trained.writer._snapshots, 'take')
    trained.save()
    with torch.no_grad():
        trained.net[2].weight.clamp_(-0.01, 0.01)
    holder.go.set()
    with pytest.raises(UserError, match='save_in_background: false'):
        trained.writer.drain()
    assert not list(trained.states.iterdir())


def test_extra_state_of_a_module_is_taken_at_once(tmp_path):
    class Counting(nn.Linear):
        count = 0

        def forward(self, x):
            self.count += 1
            return super().forward(x)

        def get_extra_state(self):
            return {'count': self.count}

        def set_extra_state(self, state):
            self.count = state['count']

    trained = Trained(tmp_path)
    trained.net = nn.Sequential(Counting(2, 2))
    with trained.writer:
        trained.model.save_network(trained.net, 'net_g', 3)
        trained.net(torch.zeros(1, 2))
        trained.writer.submit()
    weights = load_checkpoint(trained.models / 'net_g_3.pth')['params']
    assert weights['0._extra_state'] == {'count': 0}


def run_until(trained: Trained, error: Exception | None) -> None:
    """One iteration, which is saved; then the end of the loop, or an error in it."""
    with trained.writer:
        trained.step()
        trained.save()
        if error is not None:
            raise error


def fail_from(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The disk is full when the file of that name is to get its name."""
    replace = os.replace

    def failing(source, target):
        if Path(target).name == name:
            raise OSError(28, 'No space left on device')
        replace(source, target)

    monkeypatch.setattr(os, 'replace', failing)


@pytest.mark.parametrize('name', ['net_g_2.pth', '2.state', '2.json'])
@pytest.mark.parametrize('background', [True, False])
def test_full_disk_reaches_the_loop_and_spoils_nothing(tmp_path, monkeypatch, name, background):
    trained = Trained(tmp_path, in_background=background, keep_last=1)
    trained.step()
    trained.save()
    trained.writer.drain()
    fail_from(monkeypatch, name)
    with pytest.raises(UserError, match=f'{name} could not be written: .*No space left on device.*Free disk space'):
        run_until(trained, None)
    verify(tmp_path / 'training_states', 1)
    assert not (trained.states / '2.json').exists()
    assert not list(tmp_path.rglob('.*'))


def test_failing_write_of_the_system(trained):
    """No file can grow beyond 1000 bytes."""
    trained.step()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        trained.save()
        with pytest.raises(UserError, match=r'net_g_1\.pth could not be written: .*File too large'):
            trained.writer.drain()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    trained.save()
    trained.writer.drain()
    verify(trained.states, 1)


@pytest.mark.parametrize('call', ['raise_failure', 'drain', 'save'])
def test_errors_surface_once_at_the_next_call(trained, monkeypatch, call):
    trained.step()
    with monkeypatch.context() as patch:
        fail_from(patch, '1.state')
        trained.save()
        trained.writer._written.wait(20)
    with pytest.raises(UserError, match=r'1\.state could not be written'):
        trained.save() if call == 'save' else getattr(trained.writer, call)()
    trained.save()
    trained.writer.drain()
    verify(trained.states, 1)


def test_end_waits_for_the_disk(tmp_path, monkeypatch):
    trained = Trained(tmp_path)
    holder = Holder(monkeypatch, checkpoint_writer, 'atomic_save')
    with trained.writer:
        trained.step()
        trained.save()
        threading.Timer(0.1, holder.go.set).start()
    verify(trained.states, 1)
    for thread in threading.enumerate():
        if thread.name == 'checkpoints':
            thread.join(20)
            assert not thread.is_alive()


def test_outside_of_the_loop_it_writes_at_once(tmp_path):
    trained = Trained(tmp_path)
    trained.step()
    trained.save()
    verify(trained.states, 1)
    assert 'checkpoints' not in {thread.name for thread in threading.enumerate()}


def test_second_interrupt_ends_the_waiting_but_not_the_writing(tmp_path, monkeypatch):
    """Ctrl-C once more raises KeyboardInterrupt where the loop waits; the thread, no daemon, ends its work."""
    trained = Trained(tmp_path)
    holder = Holder(monkeypatch, checkpoint_writer, 'atomic_save')

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trained.writer, 'finish', interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_until(trained, None)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == 'checkpoints')
    assert not thread.daemon
    holder.go.set()
    thread.join(20)
    assert not thread.is_alive()
    verify(trained.states, 1)


def test_another_error_is_not_hidden_and_what_was_submitted_is_saved(tmp_path, monkeypatch):
    said: list[str] = []
    trained = Trained(tmp_path, complain=said.append)
    with pytest.raises(KeyError, match='mine'):
        run_until(trained, KeyError('mine'))
    verify(trained.states, 1)
    fail_from(monkeypatch, 'net_g_2.pth')
    with pytest.raises(KeyError, match='mine'):
        run_until(trained, KeyError('mine'))
    assert len(said) == 1
    assert 'net_g_2.pth could not be written' in said[0]
    run_until(trained, None)  # and it can be used again
    verify(trained.states, 3)


def test_files_without_an_iteration_are_in_no_manifest(trained):
    trained.step()
    trained.model.save_network(trained.net, 'net_g', 'best')
    best = trained.models / 'net_g_best.pth'
    trained.writer.note(best, {'metric': 'psnr', 'value': 27.5})
    trained.model.save_network(trained.net, 'net_g', -1)
    trained.save()
    trained.writer.drain()
    named = json.loads((trained.states / '1.json').read_text())['files']
    assert set(named) == {'1.state', '../models/net_g_1.pth'}
    note = {'file': 'net_g_best.pth', 'metric': 'psnr', 'value': 27.5, **sum_of(best)._asdict()}
    assert json.loads(best.with_suffix('.json').read_text()) == note
    assert (trained.models / 'net_g_latest.pth').is_file()


def test_networks_without_a_state_have_no_manifest(trained):
    trained.model.save_network(trained.net, 'net_g', 7)
    trained.writer.finish()
    assert (trained.models / 'net_g_7.pth').is_file()
    assert not list(trained.states.iterdir())


def test_older_ones_go_when_the_new_one_is_whole(tmp_path):
    trained = Trained(tmp_path, keep_last=2)
    with trained.writer:
        for _ in range(4):
            trained.step()
            trained.save()
    assert {path.name for path in trained.states.iterdir()} == {'3.state', '3.json', '4.state', '4.json'}
    assert {path.name for path in trained.models.iterdir()} == {'net_g_3.pth', 'net_g_4.pth'}
