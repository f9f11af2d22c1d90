"""With several processes, the first one chooses the state for all."""

from pathlib import Path

import pytest
import torch
from compat_tools import process_group

from ext_core.atomic import atomic_save
from ext_core.errors import UserError
from ext_core.train.checkpoint import write_manifest
from ext_core.train.resume import load_resume_state


@pytest.fixture
def opt(tmp_path: Path) -> dict:
    """Options of a run that saved iterations 2 and 4, of which the latter is damaged."""
    models, states = tmp_path / 'models', tmp_path / 'training_states'
    for folder in (models, states):
        folder.mkdir()
    for iteration in (2, 4):
        files = [models / f'net_g_{iteration}.pth', states / f'{iteration}.state']
        write_manifest(states, iteration, {path: atomic_save({'iter': iteration}, path) for path in files})
    (models / 'net_g_4.pth').write_bytes(b'')
    path = {'models': str(models), 'training_states': str(states), 'resume_state': None}
    return {'auto_resume': True, 'dist': True, 'rank': 0, 'network_g': {}, 'path': path}


def test_first_process_tells_the_others(opt, monkeypatch):
    told: list = []
    said: list[str] = []
    monkeypatch.setattr(torch.distributed, 'broadcast_object_list', lambda answer: told.append(list(answer)))
    assert load_resume_state(opt, said.append)['iter'] == 2
    assert len(said) == 1
    (answer,) = told

    monkeypatch.setattr(torch.distributed, 'broadcast_object_list', lambda mine: mine.__setitem__(slice(None), answer))
    other = opt | {'rank': 1, 'path': opt['path'] | {'resume_state': None}}
    assert load_resume_state(other, said.append)['iter'] == 2
    assert other['path']['pretrain_network_g'] == opt['path']['pretrain_network_g']
    assert len(said) == 1


def test_its_error_is_that_of_all(opt, monkeypatch):
    monkeypatch.setattr(
        torch.distributed, 'broadcast_object_list', lambda mine: mine.__setitem__(slice(None), [None, 'none fits'])
    )
    with pytest.raises(UserError, match='none fits'):
        load_resume_state(opt | {'rank': 1})
    (Path(opt['path']['training_states']) / '2.state').write_bytes(b'')
    with pytest.raises(UserError, match='none'):
        load_resume_state(opt)


def test_group_of_one(opt):
    with process_group():
        assert load_resume_state(opt, lambda line: None)['iter'] == 2
        opt['path']['resume_state'] = None
        (Path(opt['path']['training_states']) / '2.state').write_bytes(b'')
        with pytest.raises(UserError, match='none of the 2 states'):
            load_resume_state(opt, lambda line: None)
        for path in Path(opt['path']['training_states']).glob('*.state'):
            path.unlink()
        assert load_resume_state(opt, lambda line: None) is None  # nothing but manifests: a new start


def test_weights_are_no_state(opt, tmp_path):
    """``resume_state: .../net_g_2.pth``, as users write who want to start from weights."""
    path = opt['path'] | {'resume_state': str(tmp_path / 'models' / 'net_g_2.pth')}
    with pytest.raises(UserError, match=r'net_g_2.pth is no training state.*epoch.*path:pretrain_network_g'):
        load_resume_state(opt | {'auto_resume': False, 'dist': False, 'path': path})


def test_a_named_state_is_verified(opt, tmp_path):
    path = opt['path'] | {'resume_state': str(tmp_path / 'training_states' / '4.state')}
    with pytest.raises(UserError, match=r'path:resume_state: .*net_g_4\.pth has'):
        load_resume_state(opt | {'auto_resume': False, 'dist': False, 'path': path})


def test_auto_resume_begins_with_the_named_state(opt, tmp_path):
    """Until it has one of its own: torchrun starts again with the same flags."""
    named = tmp_path / 'other' / 'training_states' / '7.state'
    named.parent.mkdir(parents=True)
    torch.save({'epoch': 0, 'iter': 7, 'optimizers': [], 'schedulers': []}, named)
    path = {**opt['path'], 'resume_state': str(named)}
    own = opt | {'dist': False, 'path': dict(path)}
    assert load_resume_state(own, lambda line: None)['iter'] == 2
    fresh = opt | {'dist': False, 'path': path | {'training_states': str(tmp_path / 'none')}}
    assert load_resume_state(fresh)['iter'] == 7
    assert fresh['path']['resume_state'] == str(named)
