"""Two runs of one name: the second is refused while the first one lives, and moves nothing away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import PROJECT, tiny_recipe

from ext_core import launch
from ext_core.errors import UserError
from ext_core.options import yaml_safe
from ext_core.train.in_use import in_use

HOLDER = """
import os, sys, time
from pathlib import Path
from ext_core.train.in_use import in_use
with in_use(*map(Path, sys.argv[1:])):
    if os.fork() == 0:  # as the workers of a process that is killed do, it lives on a little
        time.sleep(20)
    print('claimed', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    """``holder(folder, ...)``: a process that has claimed these folders."""
    running = []

    def start(*folders: Path) -> subprocess.Popen:
        command = [sys.executable, '-c', HOLDER, *map(str, folders)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True))
        assert running[-1].stdout.readline() == 'claimed\n'
        return running[-1]

    yield start
    for process in running:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.fixture
def train(tmp_path, in_project):
    (tmp_path / 'two.yml').write_text(yaml_safe.dump(tiny_recipe('two', 1)))
    return lambda *flags: launch.train(tmp_path, ['-opt', str(tmp_path / 'two.yml'), '--demo', *flags])


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob('*')}


@pytest.mark.parametrize('kind', ['experiments', 'tb_logger'])
def test_the_second_of_two_runs_is_refused_until_the_first_is_gone(tmp_path, train, holder, capfd, kind):
    assert train() == 0
    assert not list(tmp_path.rglob('*.lock'))
    first = holder(tmp_path / kind / 'demo_two')
    before = files(tmp_path)
    for flags in ([], ['--auto_resume']):
        assert train(*flags) == 1
        said = capfd.readouterr().err
        assert f'demo_two is in use by process {first.pid}: another run of this name' in said
        assert 'another name' in said
        assert files(tmp_path) == before
    assert train('--dry-run') == 0
    first.kill()  # its own process lives on
    first.wait()
    assert train() == 0
    assert not list(tmp_path.rglob('*.lock'))


def test_results_are_claimed_too(tmp_path, train, holder, capfd):
    assert train() == 0
    network = yaml_safe.read(tmp_path / 'experiments' / 'demo_two' / 'demo_two.yml')['network_g'] | {'_delete_': True}
    weights = tmp_path / 'experiments' / 'two' / 'models' / 'net_g_latest.pth'  # --demo adds to it
    base = PROJECT / 'options' / 'test_srresnet.yml'
    recipe = {
        '_base_': str(base),
        'name': 'two',
        'path': {'pretrain_network_g': str(weights)},
        'network_g': network,
        'val': {'save_img': False, 'metrics': {'_delete_': True, 'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}},
    }
    (tmp_path / 'test.yml').write_text(yaml_safe.dump(recipe))
    first = holder(tmp_path / 'results' / 'demo_two')
    assert launch.test(tmp_path, ['-opt', str(tmp_path / 'test.yml'), '--demo']) == 1
    assert f'demo_two is in use by process {first.pid}' in capfd.readouterr().err
    first.kill()
    first.wait()
    assert launch.test(tmp_path, ['-opt', str(tmp_path / 'test.yml'), '--demo']) == 0


def test_a_name_that_is_too_long_is_said_to_be_the_cause(tmp_path):
    with pytest.raises(UserError, match=r'File name too long.*choose another name'), in_use(tmp_path / ('n' * 255)):
        pass
