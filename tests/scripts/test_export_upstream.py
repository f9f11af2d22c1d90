"""The export into BasicSR: what is written trains and passes its tests there, without us; and nothing else is harmed.

``EXPORTED_TESTS=all`` before the command runs all exported tests instead of a few fast files (minutes).
"""

import functools
import os
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from basicsr_checkout import STOCK, commit, git, make_checkout, make_tree, run_alone
from script_loader import load_script

from ext_core.errors import UserError
from ext_core.upstream import plan, run, tree
from ext_core.upstream.edits import Edit
from ext_core.upstream.tree import Checkout

export_upstream = load_script('export_upstream')
ROOT = Path(__file__).resolve().parents[2]
_FAST = (
    'archs/test_patch_discriminator data/test_hr_image_dataset losses/test_adversarial losses/test_mask '
    'metrics/test_pi models/test_precision'
)
FAST = [f'tests/test_{name}.py' for name in _FAST.split()]
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
    'train:perceptual_opt:layer_weights:conv5_4': 0,
    'train:perceptual_opt:layer_weights:conv2_2': 1,
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, 'make_plan', functools.cache(plan.make_plan))
        said: dict[str, list[str]] = {'dry': [], 'first': [], 'second': []}
        export = functools.partial(run.export, ROOT, checkout)
        export(dry_run=True, say=said['dry'].append)
        after_dry_run = git(checkout, 'status', '--porcelain')
        export(say=said['first'].append)
        files = snapshot(checkout)
        export(say=said['second'].append)
    return SimpleNamespace(folder=checkout, after_dry_run=after_dry_run, files=files, **said)


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
    recipe = 'options/train_mask_esrgan.yml'
    done = run_alone(exported.folder, 'basicsr/train.py', '-opt', recipe, '--force_yml', *changes)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    for created in ('Model [GANSRModel]', 'Loss [RelativisticAdversarialLoss]', 'Loss [ErrorMask]'):
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
    assert int(re.search(r'(\d+) passed', done.stdout)[1]) >= 100


# ---------------------------------------------------------------------- what is said
def test_the_plan_says_where_everything_goes_and_writes_nothing(exported):
    assert exported.after_dry_run == ''
    assert exported.dry[-1] == 'Nothing was written (--dry-run).'
    for line in (
        'new        ext_losses/mask_loss.py -> basicsr/losses/mask_loss.py',
        'new        ext_core/inference/degrading.py -> basicsr/utils/ext/degrading.py (only low_resolution)',
        'new        options/train_mask_esrgan.yml -> options/train_mask_esrgan.yml',
        'new        tests/ext_losses/test_mask.py -> tests/test_losses/test_mask.py',
        'stays here  tests/ext_models/test_degradation_run.py: uses ext_core.launch',
    ):
        assert line in exported.dry
    assert any(
        line.startswith('changed    edit of basicsr/data/degradations.py: functional_tensor') for line in exported.dry
    )
    assert exported.first[:-1] == exported.dry[:-1]
    assert exported.first[-1].endswith(' files were written.')


def test_all_components_and_recipes_go(exported):
    places = ('arch archs _arch', 'losses losses _loss', 'data data _dataset', 'metrics metrics _metric')
    for package, theirs, suffix in map(str.split, (*places, 'models models _model')):
        found = list((ROOT / f'ext_{package}').glob(f'*{suffix}.py'))
        assert found
        assert [path.name for path in found if f'basicsr/{theirs}/{path.name}' not in exported.files] == []
    recipes = {path.name for path in (ROOT / 'options').glob('t*.yml')} - {'train_domain_adaptation.yml'}
    assert recipes <= {path.name for path in (exported.folder / 'options').iterdir()}


def test_a_second_run_changes_nothing_and_says_so(exported):
    assert exported.second[-1] == 'Nothing to do: the export is up to date.'
    assert not [line for line in exported.second if line.startswith(('new ', 'changed '))]
    later = snapshot(exported.folder)
    assert {name: later[name] for name in exported.files} == exported.files


def test_no_line_is_longer_than_basicsr_allows(exported):
    ours = {line.split(' -> ')[1].split(' (')[0] for line in exported.first if ' -> ' in line}
    lines = [(name, line) for name in ours for line in exported.files[name][0].decode().splitlines()]
    assert [(name, line) for name, line in lines if len(line) > 120] == []


def test_nothing_is_imported_that_is_not_used(exported):
    ours = [line.split(' -> ')[1].split(' (')[0] for line in exported.first if ' -> ' in line]
    modules = [name for name in ours if name.endswith('.py')]
    arguments = ('check', '--no-cache', '--isolated', '--select', 'F', '--output-format', 'concise')
    done = run_alone(exported.folder, '-m', 'ruff', *arguments, *modules)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_only_our_launcher_does_is_not_promised(exported):
    stage = exported.files['options/train_da_stage1.yml'][0].decode()
    assert 'save_best' not in stage
    assert 'save_best' in (ROOT / 'options' / 'train_da_stage1.yml').read_text()
    measured = exported.files['options/test_edsr.yml'][0].decode()
    assert '\n# Remove the sets that you do not have.\n\n' in measured


# ---------------------------------------------------------------------- what is refused
def refusal(folder: Path, capsys) -> str:
    """Run the script as a user, who is told why it does not."""
    assert export_upstream.main([str(folder)]) == 1
    return capsys.readouterr().err


def test_other_trees_are_refused(tmp_path, capsys):
    assert 'is no source tree of BasicSR' in refusal(tmp_path / 'nowhere', capsys)
    assert 'is no source tree of BasicSR' in refusal(ROOT, capsys)
    foreign = make_tree(tmp_path / 'foreign', setup="setup(name='another')\n")
    assert 'git clone https://github.com/XPixelGroup/BasicSR' in refusal(foreign, capsys)
    old = make_tree(tmp_path / 'old', version='1.3.5')
    assert 'holds BasicSR 1.3.5 (its file VERSION), but the export is made for 1.4.x' in refusal(old, capsys)
    inside = make_tree(commit(make_tree(tmp_path / 'outer')) / 'inner')
    assert f'is inside the git repository {tmp_path / "outer"}' in refusal(inside, capsys)


def test_a_tree_without_git_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path))
    assert 'is no git repository: clone BasicSR' in refusal(make_tree(tmp_path / 'BasicSR'), capsys)


@pytest.mark.parametrize('name', ['basicsr/train.py', 'new file.txt'])
def test_changes_that_are_not_committed_are_refused(tmp_path, capsys, name):
    checkout = commit(make_tree(tmp_path / 'BasicSR'))
    (checkout / name).write_text('mine')
    assert f'has changes that are not committed: {name}. Commit or undo them first.' in refusal(checkout, capsys)


def test_files_of_others_are_never_overwritten(tmp_path):
    folder = make_tree(tmp_path / 'BasicSR')
    (folder / 'basicsr' / 'mask_loss.py').write_text('theirs')
    checkout = Checkout(commit(folder))
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r'not of an export: basicsr/mask_loss\.py\. They are never'):
            checkout.require_free({'basicsr/mask_loss.py': b'ours'}, overwrite)
    checkout.require_free({'basicsr/mask_loss.py': b'theirs'}, False)


def test_exported_files_that_were_changed_need_a_word(tmp_path):
    checkout = Checkout(commit(make_tree(tmp_path / 'BasicSR')))
    checkout.write({'basicsr/archs/one.py': b'1'})
    checkout.require_clean()  # our own files need not be committed
    checkout.require_free({'basicsr/archs/one.py': b'2'}, False)
    (checkout.folder / 'basicsr' / 'archs' / 'one.py').write_bytes(b'formatted')
    again = Checkout(commit(checkout.folder))
    with pytest.raises(UserError, match=r'changed since the last export: basicsr/archs/one\.py\. .* --overwrite'):
        again.require_free({'basicsr/archs/one.py': b'2'}, False)
    again.require_free({'basicsr/archs/one.py': b'2'}, True)


def test_links_out_of_the_tree_are_refused(tmp_path):
    folder = make_tree(tmp_path / 'BasicSR')
    (tmp_path / 'elsewhere').mkdir()
    (folder / 'basicsr' / 'archs').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(UserError, match='is a link or a folder'):
        Checkout(commit(folder)).require_free({'basicsr/archs/one.py': b''}, False)


def test_a_failure_half_way_leaves_all_as_it_was(tmp_path, monkeypatch):
    checkout = Checkout(commit(make_tree(tmp_path / 'BasicSR')))
    before, written = snapshot(checkout.folder), []

    def write(data: bytes, path: Path) -> None:
        if path.name == 'three.py':
            raise UserError('the disk is full')
        path.write_bytes(data)
        written.append(path.name)

    monkeypatch.setattr(tree, 'atomic_write_bytes', write)
    content = {'basicsr/train.py': b'edited', 'basicsr/new/deep/two.py': b'2', 'basicsr/three.py': b'3'}
    with pytest.raises(UserError, match='the disk is full'):
        checkout.write(content)
    assert written[:2] == ['train.py', 'two.py']
    after = snapshot(checkout.folder)
    assert {name: content for name, (content, _) in after.items()} == {name: old for name, (old, _) in before.items()}
    assert not (checkout.folder / 'basicsr' / 'new').exists()
    assert Checkout(checkout.folder).written == {}


def test_edits_expect_their_text():
    edit = Edit('rename', 'basicsr/a.py', 'old', 'new', 'it has to be')
    assert edit.apply('an old text') == 'an new text'
    assert edit.apply('a new text') == 'a new text'
    with pytest.raises(
        UserError, match=r'basicsr/a\.py: the edit rename expects this text exactly once, but it is there 0'
    ):
        edit.apply('another text')
    with pytest.raises(UserError, match='it is there 2 times'):
        edit.apply('old old')
