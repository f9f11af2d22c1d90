"""Manifests: what is whole, what is not and why, and what ``keep_last`` removes."""

import json
from pathlib import Path

import pytest
import torch

from ext_core.atomic import atomic_save
from ext_core.errors import UserError
from ext_core.train.checkpoint import manifest_file, numbered, read_manifest, remove_older, verify, write_manifest


@pytest.fixture
def states(tmp_path: Path) -> Path:
    """An experiment's folder of training states, beside that of its networks."""
    (tmp_path / 'models').mkdir()
    (tmp_path / 'training_states').mkdir()
    return tmp_path / 'training_states'


def saved(states: Path, iteration: int) -> dict[str, Path]:
    """A checkpoint of two networks and a state, with its manifest."""
    models = states.parent / 'models'
    files = {name: models / f'net_{name}_{iteration}.pth' for name in ('g', 'd')}
    files['state'] = states / f'{iteration}.state'
    records = {path: atomic_save({'iter': iteration, 'w': torch.ones(9)}, path) for path in files.values()}
    write_manifest(states, iteration, records)
    return files


def names(states: Path) -> set[str]:
    return {path.name for path in (*states.iterdir(), *(states.parent / 'models').iterdir())}


def files_of(*iterations: int) -> set[str]:
    return {name for i in iterations for name in (f'net_g_{i}.pth', f'net_d_{i}.pth', f'{i}.state', f'{i}.json')}


def test_manifest_names_files_relative_to_itself(states):
    files = saved(states, 6)
    content = json.loads(manifest_file(states, 6).read_text())
    assert content['iter'] == 6
    assert set(content['files']) == {'6.state', '../models/net_g_6.pth', '../models/net_d_6.pth'}
    assert content['files']['6.state']['bytes'] == files['state'].stat().st_size
    verify(states, 6, files.values())
    moved = states.parent.rename(states.parent.with_name('moved'))
    verify(moved / 'training_states', 6)


def test_files_that_differ_are_named(states):
    files = saved(states, 6)
    whole = files['g'].read_bytes()
    for content, reason in (
        (whole[:-1], r'net_g_6\.pth has [\d,]+ bytes, but [\d,]+ were saved'),
        (whole[:-1] + b'x', r'net_g_6\.pth is damaged, or of another iteration'),
    ):
        files['g'].write_bytes(content)
        with pytest.raises(UserError, match=reason):
            verify(states, 6)
    files['g'].unlink()
    with pytest.raises(UserError, match=r'net_g_6\.pth is missing'):
        verify(states, 6)


def test_weights_of_another_iteration_do_not_pass(states):
    saved(states, 4)
    files = saved(states, 6)
    (states.parent / 'models' / 'net_g_4.pth').replace(files['g'])  # as large, and loads
    with pytest.raises(UserError, match=r'net_g_6\.pth is damaged, or of another iteration'):
        verify(states, 6)


def test_weights_that_were_not_saved_with_it_do_not_pass(states):
    files = saved(states, 6)
    later = files['g'].with_name('net_deg_6.pth')
    later.write_bytes(files['g'].read_bytes())
    with pytest.raises(UserError, match=r'net_deg_6\.pth was not saved with this iteration: 6\.json does not name it'):
        verify(states, 6, [later])


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        (lambda content: '', 'cannot be read'),
        (lambda content: '[]', 'cannot be read'),
        (lambda content: content[:40], 'cannot be read'),
        (lambda content: content.replace('"bytes"', '"byte"'), "'bytes'"),
        (lambda content: content.replace('"iter": 6', '"iter": 7'), 'not those of iteration 6'),
        (lambda content: content.replace('net_g_6', 'net_g_4'), 'not those of iteration 6'),
        (lambda content: content.replace('"6.state"', '"7.state"'), 'not those of iteration 6'),
        (lambda content: content.replace('"6.state"', '"../models/net_6.state"'), 'not those of iteration 6'),
        (lambda content: content.replace('../models', '../..'), 'no file of a checkpoint'),
        (lambda content: content.replace('../models', '/models'), 'no file of a checkpoint'),
        (lambda content: content.replace('net_g_6.pth', 'net_g_6.py'), 'no file of a checkpoint'),
    ],
)
def test_damaged_manifest_is_refused_and_removes_nothing(states, damage, reason):
    saved(states, 6)
    manifest = manifest_file(states, 6)
    manifest.write_text(damage(manifest.read_text()))
    with pytest.raises(UserError, match=reason):
        read_manifest(states, 6)
    for iteration in (8, 10):
        saved(states, iteration)
    assert remove_older(states, 1, 10) == [8]
    assert files_of(6) <= names(states)


def test_newest_are_kept(states):
    for iteration in (2, 4, 6, 10):
        saved(states, iteration)
    for name in ('net_g_best.pth', 'net_g_latest.pth', 'net_d_latest.pth'):
        (states.parent / 'models' / name).write_bytes(b'')
    assert remove_older(states, 5, 10) == remove_older(states, 4, 10) == []
    assert remove_older(states, 2, 10) == [4, 2]
    assert names(states) == files_of(6, 10) | {'net_g_best.pth', 'net_g_latest.pth', 'net_d_latest.pth'}
    assert remove_older(states, 1, 10) == [6]


def test_broken_ones_do_not_count(states):
    broken = [saved(states, iteration) for iteration in (2, 4, 6, 8)][-1]
    broken['g'].unlink()
    assert remove_older(states, 2, 8) == [2]
    assert names(states) == files_of(4, 6, 8) - {'net_g_8.pth'}
    saved(states, 10)
    assert remove_older(states, 1, 10) == [8, 6, 4]


def test_those_in_use_and_those_without_manifest_stay(states):
    files = {iteration: saved(states, iteration) for iteration in (2, 4, 6, 8)}
    manifest_file(states, 4).unlink()
    assert remove_older(states, 1, 8, in_use=[files[2]['g']]) == [6]
    assert names(states) == files_of(2, 4, 8) - {'4.json'}


def test_later_ones_stay(states):
    """A run that was taken back to iteration 4 saves iteration 5; what it left before is still the newest."""
    for iteration in (4, 5, 8, 10):
        saved(states, iteration)
    assert remove_older(states, 1, 5) == [4]
    assert names(states) == files_of(5, 8, 10)


@pytest.mark.parametrize('done', [1, 2, 3])
def test_interrupted_removal_is_never_taken_for_whole_and_is_completed(states, done, monkeypatch):
    for iteration in (2, 4):
        saved(states, iteration)
    removed, unlink = [], Path.unlink

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        if len(removed) == done:
            raise PermissionError(13, 'not now')
        removed.append(path.name)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'unlink', interrupted)
        with pytest.raises(UserError, match=r'logger:keep_last: .* could not be removed: .*not now'):
            remove_older(states, 1, 4)
    assert len(names(states)) == 8 - done
    assert numbered(states, '.state') == [4]  # BasicSR looks for these, and so do we without a manifest
    with pytest.raises(UserError, match=' is missing'):
        verify(states, 2)
    assert remove_older(states, 1, 4) == [2]
    assert names(states) == files_of(4)
