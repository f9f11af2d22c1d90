"""Commands use the packages beside them, whatever the environment installs or puts on the path."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ('ext_arch', 'ext_core', 'ext_data', 'ext_losses', 'ext_metrics', 'ext_models')
# each command's --help as from the command line, in one process, so that torch is imported once
ALL_COMMANDS = """
import runpy, sys
from pathlib import Path
project, ours = Path(sys.argv[1]), tuple(sys.argv[2:])
path = sys.path[1:]
for script in sorted([*project.glob('scripts/*.py'), *project.glob('basicsr/*.py')]):
    sys.argv = [str(script), '--help']
    sys.path[:] = [str(script.parent), *path]
    print('command', script.name)
    try:
        runpy.run_path(str(script), run_name='__main__')
    except SystemExit as end:
        assert end.code == 0, script
    loaded = {name: module for name, module in sys.modules.items() if name.split('.')[0] in ours}
    assert 'ext_core' in loaded, script
    for name, module in loaded.items():
        assert Path(module.__file__).is_relative_to(project), f'{script}: {module.__file__}'
        del sys.modules[name]
print('all of them')
"""


@pytest.fixture
def decoy(tmp_path):
    """Another clone on PYTHONPATH: its packages end whatever imports them."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text('raise SystemExit("the other clone")')
    return os.environ | {'PYTHONPATH': str(tmp_path)}


def run(environment: dict, folder: Path, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *command], env=environment, cwd=folder, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip


def test_the_decoy_is_in_the_way(decoy, tmp_path):
    assert 'the other clone' in run(decoy, tmp_path, '-c', 'import ext_core.errors').stderr


def test_doctor_in_the_project_folder(decoy):
    done = run(decoy, PROJECT, '-m', 'ext_core.doctor', '--help')
    assert done.returncode == 0, done.stderr


def test_every_command(decoy, tmp_path):
    done = run(decoy, tmp_path, '-c', ALL_COMMANDS, str(PROJECT), *PACKAGES)
    assert done.stdout.endswith('all of them\n'), done.stderr
    for name in ('train', 'test', 'upscale'):
        assert f'command {name}.py\nusage: ' in done.stdout
