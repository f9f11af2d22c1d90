"""Iteration and figures of a checkpoint, from the folder that it lies in."""

import json
from pathlib import Path

import pytest

from ext_core.networks.records import figures_of, iteration_of

LOG = """2026-01-01 10:00:00,000 INFO: [exp..][epoch:  0, iter:     200, lr:(1.000e-04,)] l_g_pix: 1.0e-02
2026-01-01 10:00:01,000 INFO: Validation Set5
\t # psnr: 30.0000\tBest: 30.0000 @ 200 iter
\t # niqe: 6.0000\tBest: 6.0000 @ 200 iter

2026-01-01 10:00:02,000 INFO: [exp..][epoch:  0, iter:   1,400, lr:(1.000e-04,)] l_g_pix: 1.0e-02
2026-01-01 10:00:03,000 INFO: Validation Set5
\t # psnr: 29.5000\tBest: 30.0000 @ 200 iter
\t # niqe: 5.0000\tBest: 5.0000 @ 1400 iter
"""


@pytest.fixture
def models(tmp_path) -> Path:
    for name in ('models', 'training_states'):
        (tmp_path / 'exp' / name).mkdir(parents=True)
    (tmp_path / 'exp' / 'train_exp_1.log').write_text(LOG)
    (tmp_path / 'exp' / 'training_states' / '1000.state').write_text('')
    return tmp_path / 'exp' / 'models'


def test_iterations(models):
    assert iteration_of(models / 'net_g_200.pth') == 200
    assert iteration_of(models / 'net_g_latest.pth') == 1400  # the log goes on after the last state
    assert iteration_of(models / 'net_g_best.pth') is None
    (models / 'net_g_best.json').write_text(json.dumps({'iter': 600}))
    assert iteration_of(models / 'net_g_best.pth') == 600
    assert iteration_of(models / 'downloaded.pth') is None
    (models.parent / 'training_states' / '1600.state').write_text('')
    assert iteration_of(models / 'net_g_latest.pth') == 1600


def test_figures_are_those_up_to_the_checkpoint(models):
    assert figures_of(models / 'net_g_latest.pth') == {
        'Set5': {'psnr': {'best': 30.0, 'iter': 200, 'last': 29.5}, 'niqe': {'best': 5.0, 'iter': 1400, 'last': 5.0}}
    }
    first = {'psnr': {'best': 30.0, 'iter': 200, 'last': 30.0}, 'niqe': {'best': 6.0, 'iter': 200, 'last': 6.0}}
    assert figures_of(models / 'net_g_200.pth')['Set5']['niqe'] == first['niqe']
    assert figures_of(models / 'net_g_100.pth') == {}
    assert figures_of(models / 'downloaded.pth') == {}
