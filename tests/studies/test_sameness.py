"""Where two checkpoints differ."""

import math

import pytest
import torch

from studies.sameness import difference


def checkpoint() -> dict:
    return {'params': {'weight': torch.tensor([1.0, math.nan, math.inf])}, 'rng': [(3, None), torch.tensor([1, 2])],
            'best': {'psnr': -math.inf, 'lpips': math.nan}, 'iter': 4}  # fmt: skip


def test_equal_ones_have_no_difference():
    assert difference(checkpoint(), checkpoint()) is None


@pytest.mark.parametrize(
    ('change', 'place'),
    [
        (lambda c: c['params'].update(weight=torch.tensor([1.0 + 2**-23, math.nan, math.inf])), '/params/weight'),
        (lambda c: c['params'].update(weight=torch.tensor([1.0, 0.0, math.inf])), '/params/weight'),
        (lambda c: c['params'].update(weight=torch.tensor([1.0, math.nan, 3.4028234663852886e38])), '/params/weight'),
        (lambda c: c['params'].update(weight=c['params']['weight'].double()), '/params/weight'),
        (lambda c: c['params'].update(weight=c['params']['weight'][None]), '/params/weight'),
        (lambda c: c['rng'].__setitem__(0, (3, 0)), '/rng/0/1'),
        (lambda c: c['rng'].append(1), '/rng'),
        (lambda c: c['rng'][1].__setitem__(1, 3), '/rng/1'),
        (lambda c: c['best'].update(lpips=0.0), '/best/lpips'),
        (lambda c: c.update(iter=4.0), '/iter'),
        (lambda c: c.pop('iter'), '/iter'),
        (lambda c: c.update(new=None), '/new'),
    ],
)
def test_a_difference_is_named(change, place):
    other = checkpoint()
    change(other)
    assert difference(checkpoint(), other) == place
    assert difference(other, checkpoint()) == place
