"""Commands in their order: records, repetitions, failures, signals."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from ext_core.errors import UserError
from ext_core.use.jobs import Job, Step, fingerprint, run_in_order

WRITE = 'import os; open({!r}, "a").write("{} " + os.environ.get("RANK", "-") + "\\n")'


def step(folder: Path, name: str, code: str = '') -> Step:
    """A command that notes its name and rank in ``log``, leaves its product, and does what ``code`` says."""
    touch = f'open({str(folder / name)!r}, "w").close()'
    text = f'{WRITE.format(str(folder / "log"), name)}\n{touch}\n{code}'
    return Step(name, [sys.executable, '-S', '-E', '-c', text], folder / name, fingerprint(name))


def plan(folder: Path, *steps: Step) -> tuple[Job, dict[str, str]]:
    return Job('job', folder / 'job', steps), {'options.yml': 'a: 1\n'}


def log(folder: Path) -> list[str]:
    return (folder / 'log').read_text().splitlines() if (folder / 'log').exists() else []


def test_all_in_order_and_nothing_twice(tmp_path, capsys):
    make = lambda: plan(tmp_path, step(tmp_path, 'a'), step(tmp_path, 'b'))  # noqa: E731
    assert run_in_order(*make()) == 0
    assert log(tmp_path) == ['a -', 'b -']
    assert [line.split(' after')[0] for line in capsys.readouterr().out.splitlines()] == [
        '[1/2] a started', '[1/2] a finished', '[2/2] b started', '[2/2] b finished',
    ]  # fmt: skip
    assert (tmp_path / 'job' / 'options.yml').read_text() == 'a: 1\n'
    assert run_in_order(*make()) == 0
    assert len(log(tmp_path)) == 2


@pytest.mark.parametrize('broken', [0, 1, 2])
def test_repetition_begins_with_what_failed(tmp_path, broken):
    names = ['a', 'b', 'c']
    fails = [step(tmp_path, name, 'raise SystemExit(3)' if i == broken else '') for i, name in enumerate(names)]
    with pytest.raises(UserError, match=rf'{names[broken]} failed with exit status 3.*goes on with {names[broken]}'):
        run_in_order(*plan(tmp_path, *fails))
    assert log(tmp_path) == [f'{name} -' for name in names[: broken + 1]]
    (tmp_path / 'log').unlink()
    assert run_in_order(*plan(tmp_path, *(step(tmp_path, name) for name in names))) == 0
    assert log(tmp_path) == [f'{name} -' for name in names[broken:]]


def test_success_without_product_is_a_failure(tmp_path):
    empty = Step('a', [sys.executable, '-S', '-c', ''], tmp_path / 'a', '')
    with pytest.raises(UserError, match='a ended without leaving'):
        run_in_order(*plan(tmp_path, empty))


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
    assert run_in_order(*plan(tmp_path, slow, step(tmp_path, 'b'))) == 128 + number
    assert saved.read_text() == number.name
    assert log(tmp_path) == ['a -']
    assert json.loads((tmp_path / 'job' / 'state.json').read_text())['a']['done'] is False


def test_command_that_was_stopped_alone_stops_all(tmp_path):
    """As where torchrun's signal reached another process first, and the trainings agreed to stop."""
    stopped = step(tmp_path, 'a', f'raise SystemExit({128 + signal.SIGTERM})')
    assert run_in_order(*plan(tmp_path, stopped, step(tmp_path, 'b'))) == 128 + signal.SIGTERM
    killed = step(tmp_path, 'a', 'import os; os.kill(os.getpid(), 15)')
    assert run_in_order(*plan(tmp_path, killed)) == 128 + signal.SIGTERM


def test_two_runs_at_the_same_time_are_refused(tmp_path):
    again = f"""
from ext_core.errors import UserError
from ext_core.registration import register_all
register_all()
from ext_core.use.jobs import Job, run_in_order
from pathlib import Path
try:
    run_in_order(Job('job', Path({str(tmp_path / 'job')!r}), []), {{}})
except UserError as error:
    Path({str(tmp_path / 'refused')!r}).write_text(str(error))
"""
    both = Step('a', [sys.executable, '-c', again], tmp_path / 'refused', '')
    assert run_in_order(*plan(tmp_path, both)) == 0
    assert f'in use by process {os.getpid()}' in (tmp_path / 'refused').read_text()


def test_commands_are_no_part_of_torchruns_group(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '0')
    assert run_in_order(*plan(tmp_path, step(tmp_path, 'a'))) == 0
    assert log(tmp_path) == ['a -']
