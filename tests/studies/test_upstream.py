"""The export into BasicSR: what is written trains and passes its tests there, without us; and nothing else is harmed.

``EXPORTED_TESTS=all`` before the command runs all exported tests instead of a few fast files (minutes).
"""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from basicsr_checkout import STOCK, commit, git, make_checkout, make_tree, run_alone

from ext_core.errors import UserError
from studies import upstream

ROOT = upstream.ROOT
# one of each package but metrics, whose test needs weights
FAST = [
    f'tests/test_{name}.py'
    for name in ('archs/test_patch_discriminator', 'data/test_samples', 'losses/test_mask', 'models/test_phases')
]
TINY = {
    'datasets:train:io_backend:type': 'disk',
    'datasets:train:gt_size': 128,
    'datasets:train:num_worker_per_gpu': 0,
    'datasets:train:batch_size_per_gpu': 1,
    'datasets:train:prefetch_mode': '~',
    'datasets:train:pin_memory': 'false',
    'network_g:num_feat': 8,
    'network_g:num_block': 1,
    'network_g:num_grow_ch': 4,
    'network_d:input_size': 128,
    'network_d:num_feat': 4,
    'train:perceptual_opt:weights': 'random',
    'train:pretrain_iters': 1,
    'train:total_iter': 3,
    'val:metrics:lpips:weights': 'random',
    'val:metrics:niqe:type': 'calculate_ssim',  # of so small an image it has no value
    'logger:print_freq': 1,
    'logger:use_tb_logger': 'false',
    'num_gpu': 0,
}


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A clone, and what the script said: with --dry-run, as it wrote, and the second time."""
    checkout = make_checkout(tmp_path_factory.mktemp('upstream') / 'BasicSR')
    said: dict[str, list[str]] = {'dry': [], 'first': [], 'second': []}
    upstream.export(checkout, dry_run=True, say=said['dry'].append)
    after_dry_run = git(checkout, 'status', '--porcelain')
    upstream.export(checkout, say=said['first'].append)
    files = snapshot(checkout)
    upstream.export(checkout, say=said['second'].append)
    ours = [line.split(' -> ')[1] for line in said['first'] if ' -> ' in line]
    return SimpleNamespace(folder=checkout, after_dry_run=after_dry_run, files=files, ours=ours, **said)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of all files outside .git."""
    paths = [path for path in folder.rglob('*') if path.is_file() and '.git' not in path.relative_to(folder).parts]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


# ---------------------------------------------------------------------- what is written works
def test_nothing_of_ours_can_be_imported(exported):
    code = (
        'import importlib.util as u, os\n'
        'for name in os.environ["NAMES"].split():\n'
        '    try: u.find_spec(name)\n'
        '    except ModuleNotFoundError: print(name, "is away")\n'
        'print(u.find_spec("basicsr").origin)'
    )
    names = ['ext_arch', 'ext_core', 'ext_data', 'ext_losses', 'ext_metrics', 'ext_models']
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('NAMES', ' '.join(names))
        done = run_alone(exported.folder, '-c', code)
    expected = [*(f'{name} is away' for name in names), str(exported.folder / 'basicsr' / '__init__.py')]
    assert done.stdout.splitlines() == expected, done.stderr
    mentions = [
        name
        for name, (content, _) in exported.files.items()
        if re.search(rb'\bext_(arch|core|data|losses|m\w+)\b', content)
    ]
    assert mentions == []


def test_basicsrs_own_command_trains_our_recipe(exported, tmp_path):
    generator = np.random.default_rng(0)
    for folder, size in (('gt', (160, 192)), ('lq', (40, 48))):
        (tmp_path / folder).mkdir()
        for name in ('a.png', 'b.png'):
            cv2.imwrite(str(tmp_path / folder / name), generator.integers(0, 256, (*size, 3), dtype=np.uint8))
    options = {
        f'datasets:{phase}:dataroot_{part}': tmp_path / part for phase in ('train', 'val') for part in ('gt', 'lq')
    }
    changes = [f'{key}={value}' for key, value in (TINY | options).items()]
    text = (exported.folder / 'options' / 'train_mask_esrgan.yml').read_text()
    assert text.count('conv5_4: 1') == 1  # which --force_yml could weigh, but not take out
    recipe = str(tmp_path / 'recipe.yml')
    Path(recipe).write_text(text.replace('conv5_4: 1', 'conv1_2: 1'))
    done = run_alone(exported.folder, 'basicsr/train.py', '-opt', recipe, '--force_yml', *changes)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    for created in ('Model [MaskGANModel]', 'Loss [RelativisticAdversarialLoss]', 'Loss [ErrorMask]'):
        assert created in said
    first, second, third = (line for line in said.splitlines() if '[epoch:' in line)
    assert 'l_g_pretrain:' in first
    assert all(name in line for line in (second, third) for name in ('l_g_gan:', 'l_d_real:', 'mask_mean:'))
    assert 'nan' not in second + third
    assert re.search(r'# lpips: \d', said)
    assert (exported.folder / 'experiments' / 'train_mask_esrgan' / 'models' / 'net_g_latest.pth').is_file()
    for name in ('train.py', 'test.py'):
        assert (exported.folder / 'basicsr' / name).read_bytes() == (STOCK / name).read_bytes()


def test_exported_tests_pass(exported):
    chosen = ['tests'] if os.environ.get('EXPORTED_TESTS') == 'all' else FAST
    options = ('-p', 'no:cacheprovider', '-p', 'no:xdist', '-q', '--strict-markers', '-W', 'ignore')
    done = run_alone(exported.folder, '-m', 'pytest', *options, *chosen)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert int(re.search(r'(\d+) passed', done.stdout)[1]) >= 50


# ---------------------------------------------------------------------- what is said
def test_the_plan_says_where_everything_goes_and_writes_nothing(exported):
    assert exported.after_dry_run == ''
    assert exported.dry[-1] == 'Nothing was written (--dry-run).'
    for line in (
        'new        ext_losses/mask_loss.py -> basicsr/losses/mask_loss.py',
        'new        ext_models/degrading.py -> basicsr/models/degrading.py',
        'new        options/train_mask_esrgan.yml -> options/train_mask_esrgan.yml',
        'new        tests/ext_losses/test_mask.py -> tests/test_losses/test_mask.py',
        "changed    edit of BasicSR's basicsr/data/degradations.py",
        'stays here  tests/ext_models/test_degrading_during_training.py: uses ext_core',
        'stays here  tests/ext_models/test_distributed.py: uses tests/processes.py',
        'stays here  tests/ext_arch/test_vgg_uae.py: uses pytest.mark.wide_vgg',
    ):
        assert line in exported.dry
    assert exported.first[:-1] == exported.dry[:-1]
    assert exported.first[-1].endswith(' files were written.')


def test_all_components_and_recipes_go(exported):
    for package, (theirs, suffix) in upstream.PACKAGES.items():
        found = list((ROOT / package).glob(f'*{suffix}.py'))
        assert found
        assert [path.name for path in found if f'basicsr/{theirs}/{path.name}' not in exported.files] == []
    recipes = {path.name for path in (ROOT / 'options').glob('t*.yml')} - {'train_domain_adaptation.yml'}
    assert recipes <= {path.name for path in (exported.folder / 'options').iterdir()}
    assert not any(b'_base_' in exported.files[f'options/{name}'][0] for name in recipes)


def test_a_second_run_changes_nothing_and_says_so(exported):
    assert exported.second[-2] == 'Nothing to do: the export is up to date.'
    assert not [line for line in exported.second if line.startswith(('new ', 'changed '))]
    later = snapshot(exported.folder)
    assert {name: later[name] for name in exported.files} == exported.files


def test_basicsrs_style_is_kept(exported):
    """Its length of lines, and nothing imported that is not used."""
    modules = [name for name in exported.ours if name.endswith('.py')]
    arguments = ('check', '--no-cache', '--isolated', '--select', 'F,E501', '--line-length', '120')
    done = run_alone(exported.folder, '-m', 'ruff', *arguments, *modules)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_files_of_the_tree_are_named(exported):
    """Our pages and scripts are named as files of this project; recipes do not speak of them at all."""
    for name in exported.ours:
        named = upstream._PAGE.findall(exported.files[name][0].decode())
        assert [path for path in named if not (exported.folder / path).exists()] == [], name


# ---------------------------------------------------------------------- rules


def test_components_that_use_ext_core_are_refused(tmp_path, monkeypatch):
    for package in upstream.PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / 'ext_losses' / 'a_loss.py').write_text('from ext_losses.helper import f\n')
    (tmp_path / 'ext_losses' / 'helper.py').write_text('from ext_core.errors import UserError as f\n')
    monkeypatch.setattr(upstream, 'ROOT', tmp_path)
    with pytest.raises(UserError, match=r'ext_losses/helper\.py names ext_core\.errors'):
        upstream.components()


# ---------------------------------------------------------------------- what is refused
@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small clone, and an export of one file whose content the test chooses."""
    tree = make_tree(tmp_path / 'BasicSR')
    content = {'options/train_a.yml': '1'}
    monkeypatch.setattr(upstream, 'components', dict)
    monkeypatch.setattr(upstream, 'tests', lambda exported: [])
    monkeypatch.setattr(upstream, 'recipes', lambda known: [(name, text, None) for name, text in content.items()])
    monkeypatch.setattr(upstream, 'edited', lambda tree, metrics: {})
    return SimpleNamespace(tree=tree, content=content)


def refusal(folder: Path, capsys) -> str:
    """Run the script as a user, who is told why it does not."""
    assert upstream.main([str(folder)]) == 1
    return capsys.readouterr().err


def test_other_trees_are_refused(tmp_path, capsys, monkeypatch):
    assert 'is no source tree of BasicSR' in refusal(tmp_path / 'nowhere', capsys)
    other = commit(make_tree(tmp_path / 'other', setup="setup(name='other')"))
    assert 'is no source tree of BasicSR' in refusal(other, capsys)
    newer = commit(make_tree(tmp_path / 'newer', version='1.5.0'))
    assert 'holds BasicSR 1.5.0' in refusal(newer, capsys)
    commit(make_tree(tmp_path / 'outer'))
    assert 'is inside the git repository' in refusal(make_tree(tmp_path / 'outer' / 'inner'), capsys)
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path))
    assert 'is no git repository: clone BasicSR' in refusal(make_tree(tmp_path / 'plain'), capsys)


@pytest.mark.parametrize('name', ['basicsr/train.py', 'new file.txt'])
def test_changes_that_are_not_committed_are_refused(small, capsys, name):
    commit(small.tree)
    (small.tree / name).write_text('mine')
    assert f'has changes that are not committed: {name}. Commit or undo them first.' in refusal(small.tree, capsys)


def test_files_of_others_are_never_overwritten(small, capsys):
    (small.tree / 'options').mkdir()
    (small.tree / 'options' / 'train_a.yml').write_text('theirs')
    commit(small.tree)
    assert 'not of an export: options/train_a.yml. They are never' in refusal(small.tree, capsys)
    assert upstream.main([str(small.tree), '--overwrite']) == 1
    assert (small.tree / 'options' / 'train_a.yml').read_text() == 'theirs'


def test_exported_files_that_were_changed_need_a_word(small, capsys):
    file = commit(small.tree) / 'options' / 'train_a.yml'
    assert upstream.main([str(small.tree)]) == 0
    small.content['options/train_a.yml'] = '2'
    assert upstream.main([str(small.tree)]) == 0  # our own files need not be committed
    assert file.read_text() == '2'
    file.write_text('formatted')
    commit(small.tree)
    assert 'changed since the last export: options/train_a.yml. ' in refusal(small.tree, capsys)
    assert upstream.main([str(small.tree), '--overwrite']) == 0
    assert file.read_text() == '2'


def test_links_out_of_the_tree_are_refused(small, tmp_path, capsys):
    (tmp_path / 'elsewhere').mkdir()
    (small.tree / 'options').symlink_to(tmp_path / 'elsewhere')
    commit(small.tree)
    assert 'is a link or a folder' in refusal(small.tree, capsys)


def test_a_failure_half_way_leaves_all_as_it_was(small, capsys, monkeypatch):
    commit(small.tree)
    small.content['options/train_b.yml'] = '3'
    before, write = snapshot(small.tree), upstream.atomic_write_bytes

    def fail(data: bytes, path: Path) -> None:
        if path.name == 'train_b.yml':
            raise UserError('the disk is full')
        write(data, path)

    monkeypatch.setattr(upstream, 'atomic_write_bytes', fail)
    assert 'the disk is full' in refusal(small.tree, capsys)
    assert snapshot(small.tree) == before
