"""Errors of an option file's text come without torch; registering comes without its slowest imports."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[1]
RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
except SystemExit as end:
    print('status', end.code)
print('loaded', *({'torch', 'basicsr', 'torch._dynamo', 'scipy.stats'} & set(sys.modules)))
"""


def run(*arguments: str) -> list[str]:
    """A script in a process of its own; its last two lines: exit status, and what it has imported."""
    done = subprocess.run([sys.executable, '-c', RUN, *arguments], cwd=PROJECT, capture_output=True, text=True,
                          timeout=60, check=True)  # fmt: skip
    return done.stdout.splitlines()[-2:]


@pytest.mark.parametrize(
    ('arguments', 'status'),
    [
        (('basicsr/test.py', '-opt', 'missing.yml'), 1),
        (('basicsr/train.py', '-opt', 'Makefile'), 1),  # no YAML
    ],
)
def test_without_torch(arguments, status):
    assert run(*arguments) == [f'status {status}', 'loaded']


def test_an_unknown_key_comes_without_slow_imports():
    said = run('basicsr/train.py', '-opt', 'options/train_edsr.yml', '--force_yml', 'train:total_itr=3')
    assert said[0] == 'status 1'
    assert set(said[1].split()) == {'loaded', 'torch', 'basicsr'}


def test_a_misspelt_key_is_named_before_torch_is_imported(tmp_path):
    recipe = (PROJECT / 'options' / 'train_edsr.yml').read_text()
    (tmp_path / 'x.yml').write_text(recipe.replace('_base_: ', f'_base_: {PROJECT}/options/') + '\ntrian: {}\n')
    (tmp_path / 'torch.py').write_text("raise SystemExit('torch')")
    command = [sys.executable, '-c', RUN, 'basicsr/train.py', '-opt', str(tmp_path / 'x.yml')]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, env=os.environ | {'PYTHONPATH': str(tmp_path)}
    )
    assert f'first look: {tmp_path / "x.yml"}' in done.stderr
    assert "trian: unknown key. Did you mean 'train'?" in done.stderr
    assert 'status torch' in done.stdout


def test_what_was_postponed_is_scipys():
    from basicsr.data import degradations
    from scipy.stats import multivariate_normal

    points = np.array([[0.5, -1.0], [0.0, 2.0]])
    density = degradations.multivariate_normal.pdf(points, [0, 0], np.eye(2))
    assert np.array_equal(density, multivariate_normal.pdf(points, [0, 0], np.eye(2)))
