"""Checkpoints, LMDBs and option files from elsewhere: nothing in them runs, and a refusal names the file."""

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch
from torch import nn

from ext_core.compat.lmdb_backend import SharedLmdbBackend
from ext_core.errors import UserError
from ext_core.networks.weight_files import load_checkpoint
from ext_core.options import image_files as images
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.use.hr_sources import pictures_of
from ext_models.weights import select_weights, weights_problem

SHAPE = (2, 3)


class RunsCode:
    """Makes the unpickler call os.mkdir on this folder."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.canary),)


# ---------------------------------------------------------------------- checkpoints
def cut(path: Path) -> None:
    torch.save({'params': {'weight': torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000])


UNREADABLE: dict[str, Callable[[Path], object]] = {
    'code': lambda path: torch.save({'params': RunsCode(path.parent / 'canary')}, path),
    'code, old format': lambda path: torch.save(
        {'params': RunsCode(path.parent / 'canary')}, path, _use_new_zipfile_serialization=False
    ),
    'code, plain pickle': lambda path: path.write_bytes(pickle.dumps(RunsCode(path.parent / 'canary'))),
    'NumPy array': lambda path: torch.save({'params': np.ones(3)}, path),
    'empty': lambda path: path.write_bytes(b''),
    'zeros': lambda path: path.write_bytes(bytes(4096)),
    'truncated': cut,
    'random, begun like a pickle': lambda path: path.write_bytes(b'\x80\x02' + random.Random(0).randbytes(200)),
    'picture': lambda path: path.write_bytes(cv2.imencode('.png', np.zeros((9, 9, 3), np.uint8))[1].tobytes()),
    'text': lambda path: path.write_text('<html>404</html>'),
    'deep pickle': lambda path: path.write_bytes(b'\x80\x02' + b']' * 5000 + b'a' * 4999 + b'.'),
    'list': lambda path: torch.save([torch.ones(1)], path),
    'folder': lambda path: path.mkdir(),
}


@pytest.mark.parametrize('kind', UNREADABLE)
@pytest.mark.parametrize('name', ['net_g.pth', '100.state'])
def test_file_that_is_no_checkpoint(tmp_path, kind, name):
    UNREADABLE[kind](tmp_path / name)
    with pytest.raises(UserError, match=name) as refused:
        load_checkpoint(tmp_path / name)
    assert not (tmp_path / 'canary').exists()
    if kind == 'code':  # the unsafe way is not advised
        assert 'could run code' in str(refused.value)
        assert 'weights_only' not in str(refused.value)


@pytest.mark.parametrize(
    ('content', 'cause'),
    [
        ('<!DOCTYPE html><html>404</html>', 'it is a text file, such as a web page'),
        ('version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 1\n', 'a Git LFS pointer'),
        (None, 'is TorchScript'),
    ],
)
def test_what_stands_for_weights_is_told_apart(tmp_path, content, cause):
    path = tmp_path / 'net_g.pth'
    if content is None:
        torch.jit.trace(torch.nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2)).save(path)
    else:
        path.write_text(content)
    with pytest.raises(UserError, match=cause):
        load_checkpoint(path)


def weight(**options) -> torch.Tensor:
    return torch.ones(SHAPE, **options)


WRONG_VALUES = {
    'text': ('x', 'not plain tensors'),
    'nested': ({'weight': weight()}, 'not plain tensors'),
    'sparse': (weight().to_sparse(), 'not plain tensors'),
    'without memory': (weight(device='meta'), 'not plain tensors'),
    'NaN': (torch.full(SHAPE, float('nan')), 'with NaN'),
    'one NaN': (torch.tensor([[1, 2, 3], [4, 5, float('nan')]]), 'with NaN'),
    'huge view': (torch.ones(1).expand(1 << 40), 'of another shape'),
}


@pytest.mark.parametrize('kind', WRONG_VALUES)
def test_values_that_are_no_weights(tmp_path, kind):
    value, words = WRONG_VALUES[kind]
    torch.save({'params': {'weight': value, 'bias': torch.zeros(2)}}, tmp_path / 'net.pth')
    _, weights = select_weights(load_checkpoint(tmp_path / 'net.pth'), 'params', 'net.pth')
    problem = weights_problem(nn.Linear(3, 2), weights, 'net.pth', 'g')
    assert problem.startswith('net.pth holds')
    assert words in problem
    assert 'weight' in problem
    assert (weights_problem(nn.Linear(3, 2), weights, 'net.pth', 'g', strict=False) is None) == (kind == 'huge view')


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_weights_of_another_precision_are_weights(dtype):
    weights = {'weight': weight(dtype=dtype), 'bias': torch.zeros(2, dtype=dtype)}
    assert weights_problem(nn.Linear(3, 2), weights, 'net.pth', 'g') is None


def test_infinity_is_a_value_that_networks_use():
    weights = {'weight': torch.full(SHAPE, float('-inf')), 'bias': torch.zeros(2)}
    assert weights_problem(nn.Linear(3, 2), weights, 'net.pth', 'g', strict=False) is None


@pytest.mark.parametrize('content', [{}, {'params': {}}, {'params': 1}, {'params': {'a': 'b'}}, {5: torch.ones(1)}])
def test_dictionary_without_weights(content):
    with pytest.raises(ValueError, match=r'net\.pth holds no network weights'):
        select_weights(content, 'params', 'net.pth')


@pytest.mark.parametrize('wanted', ['params', 'params_ema'])
@pytest.mark.parametrize(
    'key', ['state_dict', 'model', 'net', 'model_state_dict', 'params-ema', 'params_ema', 'params']
)
def test_weights_under_the_keys_of_other_projects(key, wanted):
    weights = {'a': weight()}
    content = {'epoch': torch.tensor(3), 'optimizer': {'state': {}}, key: weights}
    assert select_weights(content, wanted, 'net.pth') == (key, weights)
    both = {**content, 'mine': {'a': weight()}}
    assert select_weights(both, 'mine', 'net.pth')[1] is both['mine']


@pytest.mark.parametrize('content', [{'params': {'a': weight()}}, {'net': {'a': weight()}}, {'a': weight()}])
def test_a_misspelt_key_is_refused(content):
    with pytest.raises(
        ValueError, match=r"net\.pth holds no network weights under the key 'params_em'; its keys are: "
    ):
        select_weights(content, 'params_em', 'net.pth')


def test_several_keys_are_not_guessed_at():
    content = {'net': {'a': weight()}, 'model': {'a': weight()}}
    with pytest.raises(ValueError, match=r"holds no 'params', but weights under model and net\. .*param_key_g .*--key"):
        select_weights(content, 'params', 'net.pth')
    assert select_weights(content, 'net', 'net.pth') == ('net', content['net'])


# ---------------------------------------------------------------------- LMDB
PNG = cv2.imencode('.png', np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def write_lmdb(folder: Path, contents: dict[bytes, bytes], meta: str | bytes | None = None) -> Path:
    folder.mkdir()
    with lmdb.open(str(folder), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for key, content in contents.items():
            transaction.put(key, content)
    if meta is None:
        meta = ''.join(f'{key.decode()}.png (8,8,3) 1\n' for key in contents)
    (folder / 'meta_info.txt').write_bytes(meta.encode() if isinstance(meta, str) else meta)
    return folder


def shortened(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


BROKEN_LMDB: dict[str, tuple[Callable[[Path], object], str]] = {
    'no data': (lambda folder: (folder / 'data.mdb').unlink(), 'has no data.mdb'),
    'no listing': (lambda folder: (folder / 'meta_info.txt').unlink(), 'has no meta_info.txt'),
    'empty data': (lambda folder: shortened(folder / 'data.mdb', 0), 'LMDB'),
    'header only': (lambda folder: shortened(folder / 'data.mdb', 100), 'cannot be opened'),
    'truncated': (lambda folder: shortened(folder / 'data.mdb', 8192), 'is truncated'),
    'text': (lambda folder: (folder / 'data.mdb').write_text('x' * 9999), 'cannot be opened'),
    'empty listing': (lambda folder: (folder / 'meta_info.txt').write_text('\n \n'), 'lists no images'),
    'longer listing': (lambda folder: (folder / 'meta_info.txt').write_text('a.png (8,8,3) 1\nz.png\n'), "such as 'z'"),
    'path in listing': (lambda folder: (folder / 'meta_info.txt').write_text('../../a.png (8,8,3) 1\n'), 'lacks 1'),
    'binary listing': (lambda folder: (folder / 'meta_info.txt').write_bytes(b'\xff\xfe\0a.png'), 'lacks 1'),
    'long key': (lambda folder: (folder / 'meta_info.txt').write_text('k' * 5000), 'lacks 1'),
}


@pytest.mark.parametrize('kind', BROKEN_LMDB)
def test_broken_lmdb(tmp_path, kind):
    folder = write_lmdb(tmp_path / 'x.lmdb', {b'a': PNG, b'b': PNG * 500})
    spoil, words = BROKEN_LMDB[kind]
    spoil(folder)
    damage = images.lmdb_damage(folder)
    assert str(folder) in damage
    assert words in damage
    with pytest.raises(UserError, match=r'LMDB|lacks|lists'):
        pictures_of(folder)


def test_lmdb_needs_no_lock_and_no_fitting_map_size(tmp_path):
    folder = write_lmdb(tmp_path / 'x.lmdb', {b'a': PNG * 2000})
    (folder / 'lock.mdb').unlink()
    (folder / 'lock.mdb').mkdir()  # cannot be opened, even by root
    assert SharedLmdbBackend(str(folder), map_size=4096).get('a') == PNG * 2000


def test_values_that_are_no_images(tmp_path):
    folder = write_lmdb(tmp_path / 'x.lmdb', {b'a': b'', b'b': b'text', b'c': PNG[:-20], b'd': PNG})
    assert images.lmdb_damage(folder) is None
    values = list(images.lmdb_values(folder, 'abcd'))
    assert [images.look(value)[1] for value in values] == ['it is empty (0 bytes)', 'it is not an image', None, None]
    assert [bool(images.damage(value)) for value in values] == [True, True, True, False]


@pytest.mark.parametrize('key', ['', 'k' * 5000, '../a', 'lost'])
def test_key_that_is_not_there(tmp_path, key):
    folder = write_lmdb(tmp_path / 'x.lmdb', {b'a': PNG})
    with pytest.raises(UserError, match=r'x\.lmdb'):
        SharedLmdbBackend(str(folder)).get(key)


def test_keys_that_are_paths_name_no_outputs(tmp_path):
    folder = write_lmdb(tmp_path / 'x.lmdb', {b'/tmp/a': PNG}, '/tmp/a.png (8,8,3) 1\n')
    with pytest.raises(UserError, match=r"the key '/tmp/a' in its meta_info\.txt is a path"):
        pictures_of(folder)


def test_stored_keys_that_are_no_text(tmp_path):
    folder = write_lmdb(tmp_path / 'x.lmdb', {b'a': PNG, b'\xff\xfe': PNG}, 'a.png (8,8,3) 1\n')
    assert images.lmdb_damage(folder) is None


# ---------------------------------------------------------------------- option files
ALIAS_BOMB = 'a0: &a0 [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 9)
)
REFUSED_YAML = {
    'python object': (b'a: !!python/object/apply:os.mkdir [canary]', 'Python objects are refused'),
    'python name': (b'a: !!python/name:os.system', 'Python objects are refused'),
    'own tag': (b'a: !code x', 'line 1'),
    'aliases that multiply': (ALIAS_BOMB.encode(), 'longer'),
    'alias in itself': (b'a: &x {b: *x}', 'line 1: an alias contains itself'),
    'deep nesting': (b'a: ' + b'[' * 5000, 'nested too deeply'),
    'value that is no mapping': (b'a: !!map 5', 'line 1: expected a mapping'),
    'value that is no number': (b'a: !!int x', 'not valid YAML'),
    'impossible date': (b'a: 2024-13-45', 'not valid YAML'),
    'list as a key': (b'? [1]\n: 2', 'not valid YAML'),
    'null byte': (b'a: b\0c', 'not valid YAML'),
    'UTF-16': ('a: 1'.encode('utf-16'), 'UTF-8'),
    'Latin-1': ('a: é'.encode('latin-1'), 'UTF-8'),
    'tabs': (b'a:\n\tb: 1', 'line 2'),
    'duplicate key': (b'a: 1\nb: 2\na: 3', "'a' is given twice, in lines 1 and 3"),
    'two documents': (b'a: 1\n---\nb: 2', 'document'),
    'long number': (b'a: ' + b'9' * 10_000, 'not valid YAML'),
    'list': (b'- a', 'mapping'),
    'empty': (b'', 'mapping'),
}


@pytest.mark.parametrize('kind', REFUSED_YAML)
def test_option_file_that_is_refused(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, words = REFUSED_YAML[kind]
    Path('opt.yml').write_bytes(content)
    with pytest.raises(UserError, match=r'opt\.yml') as caught:
        yaml_safe.read(Path('opt.yml'))
    assert words in str(caught.value)
    assert not Path('canary').exists()


@pytest.mark.parametrize(
    'content', [b'\xef\xbb\xbfa: [1]', b'a:\r\n  - 1\r\n', b'x: &x [1]\na: *x', 'a: [1] # é'.encode()]
)
def test_option_file_that_means_what_it_says(tmp_path, content):
    (tmp_path / 'opt.yml').write_bytes(content)
    assert yaml_safe.read(tmp_path / 'opt.yml')['a'] == [1]


def test_bases_that_multiply(tmp_path):
    (tmp_path / '0.yml').write_text('name: x\n')
    for level in range(1, 30):
        (tmp_path / f'{level}.yml').write_text(f'_base_: [{level - 1}.yml, {level - 1}.yml]\n')
    with pytest.raises(UserError, match='more than 100 files by way of _base_'):
        options.load(tmp_path / '29.yml')


def test_huge_option_file(tmp_path):
    (tmp_path / 'huge.yml').write_text('a: 1\n' + '# comment\n' * 200_000)
    with pytest.raises(UserError, match=r'huge\.yml is no option file'):
        yaml_safe.read(tmp_path / 'huge.yml')
