"""Problems name the file and line of their key: through _base_, overlays and the command line."""

import re
from pathlib import Path

import pytest
from check_recipes import as_file, put

from ext_core.errors import UserError
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.options.check import check_options, find_warnings
from ext_core.options.positions import Positions
from ext_core.options.problems import Problem


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def loaded(path: Path) -> Positions:
    positions = Positions()
    options.load(path, positions)
    return positions


def resolved(path: Path, *arguments: str) -> tuple[dict, Positions]:
    positions = Positions()
    args = options.parse_arguments(['-opt', str(path), *arguments], is_train=True)
    _, opt = options.resolve(args, Path(), True, positions)
    return opt, positions


# ---------------------------------------------------------------------- lines
def test_every_key_has_its_line():
    lines: yaml_safe.Lines = {}
    yaml_safe.parse('a: 1\n\nb:\n  c: {d: 2,\n    e: 3}\n  # no key\n  f: [1,\n    {g: 4}]\n', lines=lines)
    assert lines == {
        ('a',): 1,
        ('b',): 3,
        ('b', 'c'): 4,
        ('b', 'c', 'd'): 4,
        ('b', 'c', 'e'): 5,
        ('b', 'f'): 7,
        ('b', 'f', '1', 'g'): 8,
    }


def test_merged_keys_stand_where_they_are_written():
    lines: yaml_safe.Lines = {}
    value = yaml_safe.parse('a: &x\n  lr: 1\nb:\n  <<: *x\n  gamma: 2\n', lines=lines)
    assert value == {'a': {'lr': 1}, 'b': {'lr': 1, 'gamma': 2}}
    assert lines['b', 'lr'] == 2
    assert lines['b', 'gamma'] == 5


def test_the_file_that_a_value_really_comes_from(tmp_path):
    base = write(tmp_path, 'base.yml', 'train:\n  lr: 1\n  steps: {a: 1, b: 2}\n  kept: 5\n')
    child = write(tmp_path, 'child.yml', '_base_: base.yml\ntrain:\n  lr: 2\n  steps:\n    _delete_: true\n    c: 3\n')
    positions = loaded(child)
    assert positions['train', 'lr'] == f'{child}:3'
    assert positions['train', 'kept'] == f'{base}:4'
    assert positions['train', 'steps', 'c'] == f'{child}:6'
    assert positions['train', 'steps', 'a'] == f'{child}:4'  # no longer there: the section from which it is missing
    assert positions['val', 'metrics'] == str(child)


def test_a_replaced_section_forgets_what_was_in_it(tmp_path):
    write(tmp_path, 'base.yml', 'mask:\n  k: 1\n')
    child = write(tmp_path, 'child.yml', 'name: x\n_base_: base.yml\nmask: ~\n')
    assert loaded(child)['mask', 'k'] == f'{child}:3'


# ---------------------------------------------------------------------- problems
@pytest.mark.parametrize(
    ('path', 'text', 'located'),
    [
        ('train:lr', 'must be a number', 'x.yml:2: train:lr must be a number'),
        ('train:lrr', 'unknown key', 'x.yml:1: train:lrr: unknown key'),
        ('train:optim:lr', 'is missing: Adam needs it.', 'x.yml:3: train:optim:lr is missing: Adam needs it.'),
        ('train', 'neither is given', 'x.yml:1: train: neither is given'),
        ('scale', 'is missing. Add it.', 'x.yml: scale is missing. Add it.'),
        ('', 'the disk is full', 'the disk is full'),
    ],
)
def test_problems_are_located_by_their_path(path, text, located):
    lines = {('train',): 1, ('train', 'lr'): 2, ('train', 'optim'): 3, ('train', 'lr', 'deep'): 4}
    assert Positions('x.yml', lines).locate(Problem(path, text)) == located


def test_the_report_has_lines(data):
    text = yaml_safe.dump(as_file(put('train:ema_decay', 7)))
    text = text.replace('lr: 0.0002', "lr: '0.0002'").replace('num_block: 1', 'num_blok: 1')
    path = write(data, 'x.yml', text)
    opt, positions = resolved(path)
    with pytest.raises(UserError) as caught:
        check_options(opt, True, positions)
    told = dict(
        re.findall(r'  - x\.yml:(\d+): ([\w:]+)', str(caught.value).replace(str(data), '').replace('/x.', 'x.'))
    )
    rows = text.splitlines()
    assert {'train:ema_decay', 'train:optim_g:lr', 'network_g:num_blok:'} <= set(told.values())
    for number, key in told.items():
        assert rows[int(number) - 1].strip().startswith(key.strip(':').split(':')[-1])


def test_the_command_line_is_named(data):
    path = write(data, 'x.yml', yaml_safe.dump(as_file(put('name', 'x'))))
    opt, positions = resolved(path, '--force_yml', 'train:ema_decay=7', 'train:total_iter=30')
    with pytest.raises(UserError, match=r'  - --force_yml train:ema_decay=7: train:ema_decay must be'):
        check_options(opt, True, positions)


def test_the_overlay_of_the_demo_is_named(tmp_path):
    text = (Path(__file__).resolve().parents[2] / 'options' / 'train_mask_esrgan.yml').read_text()
    _, positions = resolved(write(tmp_path, 'x.yml', text), '--demo')
    assert positions['datasets', 'train', 'dataroot_gt'] == '--demo (options/overlays/demo.yml)'
    assert positions['network_g', 'num_in_ch'].startswith(f'{tmp_path / "x.yml"}:')


def test_the_outline_and_keys_that_are_no_text_have_lines(tmp_path):
    with pytest.raises(UserError, match=r"b\.yml:2: train is '5'"):
        resolved(write(tmp_path, 'b.yml', 'name: x\ntrain: 5\n'))
    with pytest.raises(UserError, match=r'b\.yml:3: train:5: a key'):
        resolved(write(tmp_path, 'b.yml', 'name: x\ntrain:\n  5: 1\n'))


# ---------------------------------------------------------------------- warnings
def test_what_never_happens_is_said_with_its_line(data):
    recipe = put('train:scheduler', {'type': 'MultiStepLR', 'milestones': [5, 25], 'gamma': 0.5})
    recipe['val']['val_freq'], recipe['logger']['save_checkpoint_freq'] = 20, 20
    opt, positions = resolved(write(data, 'x.yml', yaml_safe.dump(as_file(recipe))))
    check_options(opt, True, positions)
    first, second, third, *_ = find_warnings(opt, positions)
    assert re.search(r'x\.yml:\d+: train:scheduler:milestones: \[25\] lie beyond train:total_iter \(20\)', first)
    assert 'logger:print_freq is 100 and train:total_iter 20: the log stays empty' in second
    assert 'use_shuffle: PairedImageDataset does not read this key; it has no effect.' in third
