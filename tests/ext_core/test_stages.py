"""Commands in their order: records, repetitions, failures, signals, and several processes as torchrun starts them."""

import fcntl
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ext_core.errors import UserError
from ext_core.use.jobs import Job, Step, fingerprint
from ext_core.use.stages import Plan, run_in_order

WRITE = 'import os; open({!r}, "a").write("{} " + os.environ.get("RANK", "-") + "\\n")'
VARIABLES = ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'TORCHELASTIC_USE_AGENT_STORE')


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def step(folder: Path, name: str, code: str = '') -> Step:
    """A command that notes its name and rank in ``log``, leaves its product, and does what ``code`` says."""
    touch = f'open({str(folder / name)!r}, "w").close()'
    text = f'{WRITE.format(str(folder / "log"), name)}\n{touch}\n{code}'
    return Step(name, [sys.executable, '-S', '-E', '-c', text], folder / name, fingerprint(name))


def plan(folder: Path, *steps: Step, alone: tuple[str, ...] = ()) -> Plan:
    return Plan(Job('job', folder / 'job', steps), frozenset(alone), {'options.yml': 'a: 1\n'})


def log(folder: Path) -> list[str]:
    return (folder / 'log').read_text().splitlines() if (folder / 'log').exists() else []


def quiet(line: str) -> None:
    """For ``say``."""


def test_all_in_order_and_nothing_twice(tmp_path):
    said: list[str] = []
    make = lambda: plan(tmp_path, step(tmp_path, 'a'), step(tmp_path, 'b'))  # noqa: E731
    assert run_in_order(make, said.append) == 0
    assert log(tmp_path) == ['a -', 'b -']
    assert [line.split(' after')[0] for line in said] == [
        '[1/2] a started', '[1/2] a finished', '[2/2] b started', '[2/2] b finished',
    ]  # fmt: skip
    assert (tmp_path / 'job' / 'options.yml').read_text() == 'a: 1\n'
    assert run_in_order(make, said.append) == 0
    assert len(log(tmp_path)) == 2


@pytest.mark.parametrize('broken', [0, 1, 2])
def test_repetition_begins_with_what_failed(tmp_path, broken):
    names = ['a', 'b', 'c']
    fails = [step(tmp_path, name, 'raise SystemExit(3)' if i == broken else '') for i, name in enumerate(names)]
    with pytest.raises(UserError, match=rf'{names[broken]} failed with exit status 3.*goes on with {names[broken]}'):
        run_in_order(lambda: plan(tmp_path, *fails), quiet)
    assert log(tmp_path) == [f'{name} -' for name in names[: broken + 1]]
    (tmp_path / 'log').unlink()
    assert run_in_order(lambda: plan(tmp_path, *(step(tmp_path, name) for name in names)), quiet) == 0
    assert log(tmp_path) == [f'{name} -' for name in names[broken:]]


def test_success_without_product_is_a_failure(tmp_path):
    empty = Step('a', [sys.executable, '-S', '-c', ''], tmp_path / 'a', '')
    with pytest.raises(UserError, match='a ended without leaving'):
        run_in_order(lambda: plan(tmp_path, empty), quiet)


SAVES = """
import pathlib, signal, time
def save(number, frame):
    pathlib.Path({saved!r}).write_text(signal.Signals(number).name)
    raise SystemExit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, save)
pathlib.Path({ready!r}).touch()
time.sleep(60)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_command_which_saves(tmp_path, number):
    ready, saved = tmp_path / 'ready', tmp_path / 'saved'

    def stop_when_ready() -> None:
        while not ready.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop_when_ready, daemon=True).start()
    slow = step(tmp_path, 'a', SAVES.format(saved=str(saved), ready=str(ready)))
    assert run_in_order(lambda: plan(tmp_path, slow, step(tmp_path, 'b')), quiet) == 128 + number
    assert saved.read_text() == number.name
    assert log(tmp_path) == ['a -']
    assert json.loads((tmp_path / 'job' / 'state.json').read_text())['a']['done'] is False


def test_command_that_was_stopped_alone_stops_all(tmp_path):
    """As where torchrun's signal reached another process first, and the trainings agreed to stop."""
    stopped = step(tmp_path, 'a', f'raise SystemExit({128 + signal.SIGTERM})')
    assert run_in_order(lambda: plan(tmp_path, stopped, step(tmp_path, 'b')), quiet) == 128 + signal.SIGTERM
    killed = step(tmp_path, 'a', 'import os; os.kill(os.getpid(), 15)')
    assert run_in_order(lambda: plan(tmp_path, killed), quiet) == 128 + signal.SIGTERM


def test_two_runs_at_the_same_time_are_refused(tmp_path):
    (tmp_path / 'job').mkdir()
    with open(tmp_path / 'job' / '.lock', 'w') as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match='another run of job, or a command that outlived one'):
            run_in_order(lambda: plan(tmp_path, step(tmp_path, 'a')), quiet)
    assert log(tmp_path) == []


def test_running_command_holds_the_lock(tmp_path):
    """So that commands which outlived a killed run are not started twice."""
    tries = f'import fcntl; fcntl.flock(open({str(tmp_path / "job" / ".lock")!r}, "w"), fcntl.LOCK_EX | fcntl.LOCK_NB)'
    with pytest.raises(UserError, match='failed with exit status 1'):
        run_in_order(lambda: plan(tmp_path, step(tmp_path, 'a', tries)), quiet)


# ---------------------------------------------------------------------- several processes
def on_ranks(make: Callable[[], Plan], world: int = 2) -> list[int]:
    """Exit statuses of ``run_in_order`` in processes with torchrun's environment; 77 stands for a UserError."""
    with socket.socket() as found:
        found.bind(('', 0))
        port = found.getsockname()[1]

    def work(rank: int) -> None:
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        try:
            status = run_in_order(make, quiet)
        except UserError:
            status = 77
        time.sleep(0 if rank else 0.5)  # the first holds the store, as torchrun does
        os._exit(status)

    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=work, args=(rank,)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode or 0 for process in processes]


def test_every_process_runs_its_part_and_only_the_first_plans_and_records(tmp_path):
    note = """
import os
group = [os.environ.get(name, "-") for name in ("MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", "WORLD_SIZE")]
open({!r}, "a").write(" ".join(["{}", *group]) + "\\n")
"""
    steps = [step(tmp_path, name, note.format(str(tmp_path / 'groups'), name)) for name in ('a', 'b', 'c')]

    def make() -> Plan:
        assert os.environ['RANK'] == '0'
        return plan(tmp_path, *steps, alone=('c',))

    assert on_ranks(make) == [0, 0]
    # each process goes on by itself: trainings wait for one another
    assert sorted(log(tmp_path)) == ['a 0', 'a 1', 'b 0', 'b 1', 'c -']
    groups = sorted((tmp_path / 'groups').read_text().splitlines())
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert groups[0].split()[1] != groups[2].split()[1]  # ports
    assert [group.split()[0::2] for group in groups] == [['a', 'False'], ['a', 'False'], ['b', 'False'], ['b', 'False'],
                                                         ['c', '-']]  # fmt: skip
    assert groups[4] == 'c - - -'  # it is no part of a group
    state = json.loads((tmp_path / 'job' / 'state.json').read_text())
    assert [state[name]['done'] for name in ('a', 'b', 'c')] == [True] * 3
    (tmp_path / 'log').unlink()
    assert on_ranks(lambda: plan(tmp_path, *steps, step(tmp_path, 'd'), alone=('c',))) == [0, 0]
    assert sorted(log(tmp_path)) == ['d 0', 'd 1']


def test_where_the_first_process_cannot_plan_all_end(tmp_path):
    def make() -> Plan:
        raise UserError('wrong options')

    assert on_ranks(make) == [77, 1]


def test_failure_of_another_process_ends_it_with_a_message(tmp_path):
    fails = step(tmp_path, 'a', 'import os; raise SystemExit(3 if os.environ["RANK"] == "1" else 143)')
    assert on_ranks(lambda: plan(tmp_path, fails)) == [143, 77]
