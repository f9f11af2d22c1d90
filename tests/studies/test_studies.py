"""Many commands in parallel: order, repetition, failures, interruption. The commands are small shell scripts."""

import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from ext_core.errors import UserError
from ext_core.use.jobs import Job, Step, fingerprint
from studies.running import run_jobs


def shell(folder: Path, script: str, name: str = 'train', inputs: str = '') -> Step:
    """A step whose script writes ``$P``, its product, and notes each start in ``starts``."""
    product = folder / f'{name}.out'
    command = f'P="{product}"; echo {folder.name}:{name} >> "{folder.parent / "starts"}"; {script}'
    return Step(name, ['sh', '-c', command], product, inputs)


def job(root: Path, name: str, script: str = 'touch "$P"', inputs: str = '', second: str | None = None) -> Job:
    """A job with one step, or two."""
    folder = root / name
    folder.mkdir(exist_ok=True)
    steps = [shell(folder, script, inputs=inputs)]
    if second is not None:
        steps.append(shell(folder, 'touch "$P"', 'evaluate', second))
    return Job(name, folder, steps)


def starts(root: Path) -> list[str]:
    return (root / 'starts').read_text().split() if (root / 'starts').is_file() else []


@pytest.fixture
def said() -> list[str]:
    return []


def run(jobs: list[Job], said: list[str], **options):
    return run_jobs(jobs, say=said.append, **options)


def test_steps_follow_on_one_another_and_are_not_repeated(tmp_path, said):
    finished: list[str] = []
    outcome = run([job(tmp_path, 'a', second='')], said, on_progress=lambda job: finished.append(job.name))
    assert outcome.failed == {}
    assert outcome.signal is None
    assert starts(tmp_path) == ['a:train', 'a:evaluate']
    assert finished == ['a']
    run([job(tmp_path, 'a', second='')], said)
    assert len(starts(tmp_path)) == 2


def test_commands_import_the_packages_beside_the_study(tmp_path, said, monkeypatch):
    """Not those that the environment installs: a step may be ``python -m``, started in any folder."""
    monkeypatch.setenv('PYTHONPATH', '/other')
    run([job(tmp_path, 'a', 'echo "$PYTHONPATH" > "$P"')], said)
    assert (tmp_path / 'a' / 'train.out').read_text() == f'{Path(__file__).resolve().parents[2]}:/other\n'


def test_changed_inputs_repeat_the_step_and_those_after_it(tmp_path, said):
    run([job(tmp_path, 'a', second='')], said)
    run([job(tmp_path, 'a', second='other images')], said)
    assert starts(tmp_path)[2:] == ['a:evaluate']
    run([job(tmp_path, 'a', inputs='other options', second='other images')], said)
    assert starts(tmp_path)[3:] == ['a:train', 'a:evaluate']


def test_deleted_products(tmp_path, said):
    run([job(tmp_path, 'a', second='')], said)
    (tmp_path / 'a' / 'train.out').unlink()
    assert job(tmp_path, 'a', second='').pending() == []  # the result is there
    (tmp_path / 'a' / 'evaluate.out').unlink()
    assert [step.name for step in job(tmp_path, 'a', second='').pending()] == ['train', 'evaluate']


def test_failure_is_shown_and_the_others_go_on(tmp_path, said):
    bad = 'seq 30; echo "out of memory" >&2; exit 3'
    outcome = run([job(tmp_path, 'bad', bad, second=''), job(tmp_path, 'good')], said)
    assert outcome.failed == {'bad': 'bad: train failed with exit status 3'}
    assert starts(tmp_path) == ['bad:train', 'good:train']
    tail = said[said.index(outcome.failed['bad']) + 1].splitlines()
    assert 'train.log' in tail[0]
    assert [line.strip() for line in tail[1:]] == [str(number) for number in range(17, 31)] + ['out of memory']
    assert run([job(tmp_path, 'bad', second=''), job(tmp_path, 'good')], said).failed == {}
    assert starts(tmp_path)[2:] == ['bad:train', 'bad:evaluate']


def test_only_the_last_attempt_is_shown(tmp_path, said):
    run([job(tmp_path, 'a', 'echo first; exit 1')], said)
    run([job(tmp_path, 'a', 'echo second; exit 1')], said)
    assert [line.strip() for line in said[-1].splitlines()[1:]] == ['second']


def test_success_without_product_is_a_failure(tmp_path, said):
    outcome = run([job(tmp_path, 'a', 'true')], said)
    assert 'without leaving' in outcome.failed['a']
    assert job(tmp_path, 'a').pending()


def test_as_many_at_a_time_as_asked(tmp_path, said):
    def meet(own: str, other: str) -> str:
        wait = f'until [ -f {tmp_path}/{other} ]; do n=$((n+1)); [ $n -gt 200 ] && exit 1; sleep 0.05; done'
        return f'touch {tmp_path}/{own}; n=0; {wait}; touch "$P"'

    pair = [job(tmp_path, 'a', meet('A', 'B')), job(tmp_path, 'b', meet('B', 'A'))]
    assert run(pair, said, processes=2).failed == {}

    alone = f'mkdir "{tmp_path}/lock" || exit 1; sleep 0.1; rmdir "{tmp_path}/lock"; touch "$P"'
    assert run([job(tmp_path, name, alone) for name in 'cde'], said, processes=1).failed == {}


def test_threads_are_passed_on(tmp_path, said):
    run([job(tmp_path, 'a', 'echo $OMP_NUM_THREADS > "$P"')], said, threads=3)
    assert (tmp_path / 'a' / 'train.out').read_text() == '3\n'


def test_sigterm_is_passed_on_and_the_repetition_continues(tmp_path, said):
    resumable = """
        if [ -f saved ]; then touch "$P"; exit; fi
        trap 'touch saved; exit 143' TERM
        touch ready; n=0; while [ $n -lt 200 ]; do n=$((n+1)); sleep 0.05; done
    """.replace('saved', f'{tmp_path}/saved').replace('ready', f'{tmp_path}/ready')

    def stop_when_ready() -> None:
        for _ in range(200):
            if (tmp_path / 'ready').exists():
                break
            threading.Event().wait(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop_when_ready)
    thread.start()
    outcome = run([job(tmp_path, 'a', resumable), job(tmp_path, 'b')], said)
    thread.join()
    assert outcome.signal == signal.SIGTERM
    assert outcome.failed == {}
    assert (tmp_path / 'saved').exists()
    assert starts(tmp_path) == ['a:train']

    again = job(tmp_path, 'a', resumable)
    before = again.seconds('train')
    assert before > 0
    assert run([again, job(tmp_path, 'b')], said).failed == {}
    assert starts(tmp_path)[1:] == ['a:train', 'b:train']
    assert again.seconds('train') > before


def test_no_process_is_left_behind_by_an_error(tmp_path, said):
    def fail(job: Job) -> None:
        raise UserError('disk full')

    slow = f'echo $$ > "{tmp_path}/pid"; exec sleep 30'
    quick = f'until [ -s "{tmp_path}/pid" ]; do sleep 0.02; done; touch "$P"'
    with pytest.raises(UserError, match='disk full'):
        run([job(tmp_path, 'slow', slow), job(tmp_path, 'quick', quick)], said, processes=2, on_progress=fail)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'pid').read_text()), 0)


def test_a_command_that_outlived_its_study_is_not_started_twice(tmp_path, said):
    (tmp_path / 'a').mkdir()
    with open(tmp_path / 'a' / 'train.log', 'ab') as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        outcome = run([job(tmp_path, 'a')], said)
    assert 'still at work' in outcome.failed['a']
    assert starts(tmp_path) == []
    assert run([job(tmp_path, 'a')], said).failed == {}


def test_running_command_holds_the_lock(tmp_path, said):
    lock = f'import fcntl; fcntl.flock(open("{tmp_path}/a/train.log", "ab"), fcntl.LOCK_EX | fcntl.LOCK_NB)'
    outcome = run([job(tmp_path, 'a', f"exec '{sys.executable}' -c '{lock}'")], said)
    assert outcome.failed == {'a': 'a: train failed with exit status 1'}
    assert 'BlockingIOError' in said[-1]


def test_damaged_record_is_named(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'state.json').write_text('{"train"')
    with pytest.raises(UserError, match=r'state\.json is damaged'):
        job(tmp_path, 'a')


def test_fingerprint():
    assert fingerprint({'a': 1, 'b': [2]}) == fingerprint({'b': [2], 'a': 1})
    assert fingerprint({'a': 1}) != fingerprint({'a': 2})
    assert fingerprint('a', 'b') != fingerprint('ab')
