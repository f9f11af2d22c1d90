"""Scripts start without the tests' own registration, and answer `--help` and a wrong argument at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / 'scripts'
COMMANDS = [str(path) for folder in (SCRIPTS, PROJECT / 'basicsr') for path in sorted(folder.glob('*.py'))]

LOAD_ALL = """
import importlib.util, pathlib, sys
sys.path.insert(0, sys.argv[3])
for path in sorted(path for folder in sys.argv[1:3] for path in pathlib.Path(folder).glob('*.py')
                   if 'register_all()  # what follows imports BasicSR' not in path.read_text()):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert 'basicsr' not in sys.modules, f'{path.name} imports basicsr before it is patched'
"""
# with None in their places, whoever imports the slow packages fails, and does not spoil the next command
ANSWER_ALL = """
import contextlib, io, json, runpy, sys
sys.modules.update(dict.fromkeys(('torch', 'cv2', 'numpy', 'basicsr')))
answers, commands = {}, sys.argv[1:]
for command in commands:
    for argument in ('--help', '--no-such-argument'):
        sys.argv = [command, argument]
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            try:
                runpy.run_path(command, run_name='__main__')
            except BaseException as end:
                answers[f'{command} {argument}'] = [repr(end), out.getvalue()]
print(json.dumps(answers))
"""


def test_no_script_imports_basicsr_before_it_is_patched():
    command = [sys.executable, '-c', LOAD_ALL, str(SCRIPTS), str(PROJECT / 'studies'), str(PROJECT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope='module')
def answers() -> dict[str, list[str]]:
    """How each command ends, and what it says, by command and argument; one process tries them all."""
    command = [sys.executable, '-c', ANSWER_ALL, *COMMANDS]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


@pytest.mark.parametrize('command', COMMANDS, ids=lambda path: Path(path).stem)
def test_help_and_a_wrong_argument_are_answered_without_slow_imports(command, answers):
    end, said = answers[f'{command} --help']
    assert end == 'SystemExit(0)'
    assert said.startswith('usage: ')
    end, said = answers[f'{command} --no-such-argument']
    assert end == 'SystemExit(2)'
    assert 'error: ' in said
