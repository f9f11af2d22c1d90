"""A clone of BasicSR, made of the installed one, and Python in which nothing of ours can be imported."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

STOCK = Path(importlib.util.find_spec('basicsr').origin).parent  # type: ignore[union-attr, arg-type]
ALONE = Path(__file__).parent / 'basicsr_alone'
GIT = ('git', '-c', 'user.name=Nobody', '-c', 'user.email=nobody@example.org', '-c', 'core.autocrlf=false')


def git(folder: Path, *arguments: str) -> str:
    """Run git there."""
    done = subprocess.run([*GIT, '-C', str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def make_tree(folder: Path, version: str = '1.4.2', setup: str = "setup(name='basicsr')\n") -> Path:
    """What a source tree is recognised by, and no more."""
    (folder / 'basicsr').mkdir(parents=True)
    (folder / 'basicsr' / 'train.py').write_text('')
    (folder / 'setup.py').write_text(setup)
    (folder / 'VERSION').write_text(f'{version}\n')
    return folder


def commit(folder: Path) -> Path:
    """Commit all there is, in a new repository if there is none."""
    if not (folder / '.git').exists():
        git(folder, 'init', '--quiet')
    git(folder, 'add', '--all')
    git(folder, 'commit', '--quiet', '--message', 'all')
    return folder


def make_checkout(folder: Path) -> Path:
    """All of BasicSR, laid out as its repository."""
    make_tree(folder)
    shutil.copytree(STOCK, folder / 'basicsr', ignore=shutil.ignore_patterns('__pycache__'), dirs_exist_ok=True)
    for name in ('options', 'tests'):
        (folder / name).mkdir()
        (folder / name / 'README.md').write_text('BasicSR has files of its own here.\n')
    (folder / '.gitignore').write_text('__pycache__/\nversion.py\nexperiments/*\ntb_logger/*\n')
    return commit(folder)


def run_alone(checkout: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python in a checkout, without our packages."""
    folders = os.pathsep.join([str(checkout), str(ALONE)])
    environment = {'PYTHONPATH': folders, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
