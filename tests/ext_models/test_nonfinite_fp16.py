"""``train:nonfinite`` beside the gradient scaler of half precision."""

import pytest
from nonfinite_runs import data_of, poisoned, run_options, trainer_on

from ext_core.errors import UserError

ROOT_LOSS = {'pixel_opt': {'type': 'RootAtZero'}}


def overflowing(trainer, scale: float):
    """A gradient scaler whose first steps overflow, from this scale on."""
    trainer.model.precision.scaler.load_state_dict(trainer.model.precision.scaler.state_dict() | {'scale': scale})
    return trainer


def test_overflow_that_the_scaler_skips_does_not_count(tmp_path):
    trainer = overflowing(
        trainer_on(run_options(tmp_path, {'every': 1}, amp='fp16', **ROOT_LOSS), data_of(14)), 2.0**127
    )
    assert trainer.run() == 0
    assert trainer.model.precision.scaler.get_scale() < 2.0**127
    assert trainer.finite.count == 0


def test_overflow_that_no_scale_helps_is_found(tmp_path):
    """Gradients that are NaN whatever the scale: halved from 4 to 1, the third one counts."""
    data = poisoned(data_of(14), *range(2, 14), value=-1)
    trainer = overflowing(trainer_on(run_options(tmp_path, {'every': 1}, amp='fp16', **ROOT_LOSS), data), 4.0)
    with pytest.raises(UserError, match='Iteration 4: gradient of'):
        trainer.run()
