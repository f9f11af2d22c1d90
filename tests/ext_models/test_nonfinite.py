"""``train:nonfinite``: NaN and Inf are found without waiting in the step, written to disk, stopped or undone."""

import json
import logging
import math
import signal
from unittest import mock

import pytest
import torch
from basicsr.utils import get_root_logger
from nonfinite_runs import SGD, data_of, poisoned, run_options, state_of, trainer_on
from recipes import FEATURE, PIXEL

from ext_core.errors import UserError
from ext_core.train import nonfinite
from studies.sameness import difference

ROOT_LOSS = {'pixel_opt': {'type': 'RootAtZero'}}
GAN = {
    'model_type': 'GANSRModel',
    'discriminator': 'UNetDiscriminatorSN',  # its power iteration advances with each pass
    'gan_opt': {'type': 'EnergyGANLoss'},  # has a memory: its margin
    'net_d_iters': 2,
    'perceptual_opt': FEATURE,
}
SKIP = {'action': 'skip'}


@pytest.fixture(autouse=True)
def warnings_reach_pytest(caplog):
    logger = get_root_logger()
    before = logger.propagate
    logger.propagate = True
    caplog.set_level(logging.INFO, 'basicsr')
    yield
    logger.propagate = before


def ended(folder, data, nonfinite=None, **kwargs) -> dict:
    trainer = trainer_on(run_options(folder, nonfinite, **kwargs), data)
    assert trainer.run() == 0
    return state_of(trainer)


# ---------------------------------------------------------------------- stop
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('nonfinite', [None, {'action': 'stop', 'every': 3}])
def test_stops_by_default_names_the_iteration_and_writes_its_batch(tmp_path, value, nonfinite):
    data = poisoned(data_of(10), 4, value=value)
    trainer = trainer_on(run_options(tmp_path, nonfinite), data)
    with pytest.raises(UserError, match=r'Iteration 4: loss l_pix is not finite, so training stops here') as error:
        trainer.run()
    folder = tmp_path / 'nonfinite' / 'iter_4_rank0'
    assert str(folder) in str(error.value)
    assert [path.name for path in (tmp_path / 'models').iterdir()] == []
    saved = torch.load(folder / 'batch.pt', weights_only=True)
    assert torch.equal(saved['batch']['lq'].nan_to_num(), data[3]['lq'].nan_to_num())
    assert torch.equal(saved['batch']['lq'].isfinite(), data[3]['lq'].isfinite())
    assert torch.equal(saved['batch']['gt'], data[3]['gt'])
    report = json.loads((folder / 'report.json').read_text())
    assert report['iteration'] == 4
    assert report['losses']['l_pix'] in ('nan', 'inf')
    assert report['samples'] == {'lq_path': ['lq/3_0.png', 'lq/3_1.png']}
    assert report['learning_rates'] == [[5e-4]]  # halved at iteration 3
    assert 'net_g.conv_first.weight' in report['gradients']


def test_images_are_written_as_seen_without_touching_the_batch(tmp_path):
    import cv2

    data = poisoned(data_of(3), 2, value=math.inf)
    before = data[1]['lq'].clone()
    with pytest.raises(UserError):
        trainer_on(run_options(tmp_path, None, total_iter=3), data).run()
    folder = tmp_path / 'nonfinite' / 'iter_2_rank0'
    assert sorted(path.name for path in folder.glob('*.png')) == ['gt_00.png', 'gt_01.png', 'lq_00.png', 'lq_01.png']
    assert torch.equal(data[1]['lq'], before)
    image = torch.from_numpy(cv2.imread(str(folder / 'lq_00.png'))[:, :, ::-1].copy()).permute(2, 0, 1)
    assert torch.equal(image[:, 0, 0], torch.full((3,), 255, dtype=torch.uint8))
    assert (image.float() / 255 - before[0].clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize('clip', [{}, {'grad_clip': {'type': 'value', 'max': 0.1}}])
def test_gradient_alone_is_found_and_named_before_clipping_hides_it(tmp_path, clip):
    data = poisoned(data_of(5), 2, value=-1)
    trainer = trainer_on(run_options(tmp_path, None, total_iter=5, **ROOT_LOSS, **clip), data)
    said = r'Iteration 2: gradient of net_g\.\S+, net_g\.\S+ and of \d+ more is not finite'
    with pytest.raises(UserError, match=said):
        trainer.run()
    report = json.loads((tmp_path / 'nonfinite' / 'iter_2_rank0' / 'report.json').read_text())
    assert math.isfinite(report['losses']['l_pix'])
    assert set(report['gradients']) == {f'net_g.{name}' for name, _ in trainer.model.net_g.named_parameters()}


# ---------------------------------------------------------------------- skip
@pytest.mark.parametrize(
    ('every', 'kwargs'),
    [
        (1, {'ema_decay': 0.9}),
        (10, {'ema_decay': 0.9, 'accumulate': 2}),
        (4, {'optim_g': SGD, 'grad_clip': {'type': 'norm', 'max': 1.0}}),
        (10, {'optim_g': {'type': 'Adam', 'lr': 1e-3, 'amsgrad': True, 'fused': True}}),
        (10, {'amp': 'bf16', 'warmup_iter': 6}),
        (4, {'amp': 'fp16', 'ema_decay': 0.9}),
        (4, {**GAN, 'ema_decay': 0.9}),
        (1, {**GAN, 'accumulate': 2, 'optim_d': SGD}),
        (10, {**GAN, 'pretrain_iters': 4, 'pretrain_opt': PIXEL}),
    ],
)
def test_skipped_batch_was_never_drawn(tmp_path, every, kwargs):
    """First of all, in the middle, two in a row: state, iteration and random numbers equal those of a run without."""
    data, bad = data_of(14), (1, 5, 6)
    got = ended(tmp_path / 'a', poisoned(data, *bad), {'action': 'skip', 'every': every}, **kwargs)
    expected = ended(tmp_path / 'b', [b for n, b in enumerate(data, 1) if n not in bad], **kwargs)
    assert got['iteration'] == expected['iteration'] == 10
    assert difference(got, expected) is None


def test_skipped_gradient_and_random_numbers(tmp_path):
    """A model that draws random numbers in its step draws the same."""
    data = data_of(14)

    def noisy(self, sr, gt):
        return {'l_pix': self.cri_pix(sr + 0.01 * torch.rand_like(sr), gt)}

    with mock.patch('ext_models.ext_sr_model.ExtSRModel.generator_losses', noisy):
        got = ended(tmp_path / 'a', poisoned(data, 3, value=-1), SKIP, **ROOT_LOSS)
        expected = ended(tmp_path / 'b', data[:2] + data[3:], **ROOT_LOSS)
    assert difference(got, expected) is None


def test_finite_numbers_are_not_touched(tmp_path):
    """Whatever the option says, the training is that without it."""
    data = data_of(10)
    runs = [{**GAN, 'ema_decay': 0.9}, {'amp': 'fp16'}]
    for number, kwargs in enumerate(runs):
        watched = [
            ended(tmp_path / f'{number}{action}', data, {'action': action, 'every': 3}, **kwargs)
            for action in ('stop', 'skip', 'rollback')
        ]
        with mock.patch('ext_core.train.nonfinite.FiniteWatch.watch'):
            plain = ended(tmp_path / f'{number}', data, **kwargs)
        for state in watched:
            assert difference(state, plain) is None


def test_skipping_is_bounded_over_the_whole_run_and_said(tmp_path, caplog):
    opt = run_options(tmp_path, {'action': 'skip', 'max': 2})
    with pytest.raises(UserError, match=r'after 2 others \(train:nonfinite:max\)'):
        trainer_on(opt, poisoned(data_of(14), 2, 7, 9)).run()
    said = [record.getMessage() for record in caplog.records if 'is skipped' in record.getMessage()]
    assert len(said) == 2
    assert said[0].startswith('Iteration 2: loss l_pix is not finite. Its batch is in ')
    assert said[1].endswith('The batch is skipped (2 of at most 2).')
    # the second one was the sixth iteration, since the first did not count
    names = sorted(path.name for path in (tmp_path / 'nonfinite').iterdir())
    assert names == ['iter_2_rank0', 'iter_6_rank0', 'iter_7_rank0']


def test_log_lines_come_once_and_without_the_skipped_batch(tmp_path, caplog):
    opt = run_options(tmp_path, {'action': 'skip', 'every': 10})
    opt['logger'].update(print_freq=1, save_checkpoint_freq=2)
    trainer_on(opt, poisoned(data_of(14), 3, 4, 10)).run()
    lines = [record.getMessage() for record in caplog.records if 'eta:' in record.getMessage()]
    numbers = [int(line.split('iter:')[1].split(',')[0]) for line in lines]
    assert numbers == list(range(1, 11))
    assert not any('nan' in line for line in lines)
    assert sorted(int(path.stem) for path in (tmp_path / 'training_states').glob('*.state')) == [2, 4, 6, 8, 10]


@pytest.mark.parametrize('kwargs', [{'ema_decay': 0.9}, GAN])
def test_resumed_run_skips_the_same_and_counts_on(tmp_path, kwargs):
    data = poisoned(data_of(14), 3, 8)
    opt = run_options(tmp_path / 'a', SKIP, **kwargs)
    opt['logger']['save_checkpoint_freq'] = 5
    whole = trainer_on(opt, data)
    whole.run()
    for file in (tmp_path / 'a').glob('*/*10*'):
        file.unlink()
    resumed = trainer_on(opt, data, resume=True)
    assert (resumed.iteration, resumed.finite.count) == (5, 1)
    resumed.run()
    assert difference(state_of(resumed), state_of(whole)) is None
    assert resumed.finite.count == whole.finite.count == 2


# ---------------------------------------------------------------------- rollback
@pytest.mark.parametrize('kwargs', [{'ema_decay': 0.9}, {**GAN, 'ema_decay': 0.9}])
def test_rollback_goes_to_the_checkpoint_and_on_with_later_batches(tmp_path, kwargs, caplog):
    data = data_of(20)
    opt = run_options(tmp_path / 'a', {'action': 'rollback', 'every': 3}, **kwargs)
    opt['logger']['save_checkpoint_freq'] = 4
    trainer = trainer_on(opt, poisoned(data, 6))
    assert trainer.run() == 0
    # looked at after iteration 6: back to that of 4, on with batch 7
    expected = ended(tmp_path / 'b', data[:4] + data[6:], **kwargs)
    assert difference(state_of(trainer), expected) is None
    assert trainer.finite.count == 1
    assert any(
        'Training goes back to its newest checkpoint (1 of at most 10).' in r.getMessage() for r in caplog.records
    )
    saved = torch.load(tmp_path / 'a' / 'training_states' / '8.state', weights_only=True)
    assert saved['ext']['batches_in_epoch'] == 10
    assert saved['ext']['nonfinite'] == {'count': 1}


def test_rollback_is_bounded_also_at_the_same_checkpoint_and_needs_one(tmp_path):
    with pytest.raises(UserError, match='there is no checkpoint to go back to'):
        trainer_on(run_options(tmp_path / 'none', {'action': 'rollback'}), poisoned(data_of(14), 2)).run()
    opt = run_options(tmp_path, {'action': 'rollback', 'max': 2, 'every': 1})
    opt['logger']['save_checkpoint_freq'] = 4
    with pytest.raises(UserError, match='after 2 others'):
        trainer_on(opt, poisoned(data_of(20), *range(5, 20))).run()
    names = sorted(path.name for path in (tmp_path / 'nonfinite').iterdir())
    assert names == ['iter_5_rank0', 'iter_5_rank0_2', 'iter_5_rank0_3']


def test_interrupted_after_a_rollback_the_run_comes_to_the_same_end(tmp_path):
    data = poisoned(data_of(20), 6)
    opt = run_options(tmp_path, {'action': 'rollback', 'every': 3})
    opt['logger']['save_checkpoint_freq'] = 4
    whole = trainer_on(opt, data)
    whole.run()
    for file in (*tmp_path.glob('*/*8*'), *tmp_path.glob('*/*10*')):
        file.unlink()
    resumed = trainer_on(opt, data, resume=True)
    assert resumed.iteration == 4
    resumed.run()
    assert difference(state_of(resumed), state_of(whole)) is None
    assert resumed.finite.count == whole.finite.count == 1


# ---------------------------------------------------------------------- cost and limits
@pytest.mark.parametrize('action', ['stop', 'skip', 'rollback'])
def test_no_wait_for_the_device_but_once_in_every_iterations(tmp_path, action):
    kwargs = {**GAN, 'perceptual_opt': FEATURE, 'optim_g': SGD, 'optim_d': SGD, 'ema_decay': 0.9}
    trainer = trainer_on(run_options(tmp_path, {'action': action, 'every': 5}, **kwargs), [])
    trainer.finite.watch(trainer.model, 0)
    data, tolist, fetched = iter(data_of(10)), torch.Tensor.tolist, []
    waits = dict.fromkeys(('item', 'tolist', 'cpu', 'numpy', '__bool__', '__float__', '__int__'), mock.DEFAULT)
    for _ in range(2):
        trainer.finite.start()  # the copy for skip, once in every five iterations
        with mock.patch.multiple(torch.Tensor, **waits) as mocks:
            for waiting in mocks.values():
                waiting.side_effect = AssertionError('a synchronisation in the step')
            trainer._train_on(next(data))
            while trainer.iteration % 5:
                assert trainer._settle()
                trainer._train_on(next(data))
        with mock.patch.object(torch.Tensor, 'tolist', lambda tensor: fetched.append(None) or tolist(tensor)):
            assert trainer._settle()
    assert len(fetched) == 2
    assert trainer.iteration == 10


def test_written_folders_are_bounded(tmp_path):
    data = data_of(1)[0]
    report = {'losses': {}, 'gradients': [], 'learning_rates': []}
    places = [nonfinite.write_batch(tmp_path, 0, number // 2, data, report) for number in range(25)]
    assert None not in places[: nonfinite.MOST_FOLDERS]
    assert places[nonfinite.MOST_FOLDERS :] == [None] * 5
    assert len(list(tmp_path.iterdir())) == nonfinite.MOST_FOLDERS
    assert nonfinite.write_batch(tmp_path, 10, 0, data, report) == tmp_path / 'iter_0_rank10'


def test_a_disk_that_takes_no_batch_hides_no_error(tmp_path):
    (tmp_path / 'nonfinite').write_text('in the way')
    with pytest.raises(UserError, match=r'loss l_pix is not finite.*Its batch is not written'):
        trainer_on(run_options(tmp_path, None), poisoned(data_of(10), 2)).run()


def test_models_of_basicsr_stop_as_before(tmp_path):
    opt = run_options(tmp_path, None, total_iter=4)
    opt['model_type'] = 'SRModel'
    with pytest.raises(UserError, match='The loss is not finite: l_pix = nan'):
        trainer_on(opt, poisoned(data_of(10), 2)).run()
    assert not (tmp_path / 'nonfinite').exists()


def stopped_after(trainer, iteration: int) -> int:
    agreed = mock.Mock(side_effect=lambda: signal.SIGTERM if trainer.batches.batches_in_epoch >= iteration else None)
    with mock.patch('ext_core.train.trainer.StopSignal.agreed', agreed):
        return trainer.run()


def test_a_signal_after_a_bad_batch_saves_a_good_state(tmp_path):
    """Batch 6 is bad and the signal comes with it: one more is trained, which makes iteration 6."""
    data = data_of(14)
    trainer = trainer_on(run_options(tmp_path / 'a', {'action': 'skip', 'every': 1}), poisoned(data, 6))
    assert stopped_after(trainer, 6) == 128 + signal.SIGTERM
    assert trainer.iteration == 6
    assert [path.name for path in (tmp_path / 'a' / 'training_states').glob('*.state')] == ['6.state']
    stopping = trainer_on(run_options(tmp_path / 'b', {'every': 10}), poisoned(data, 6))
    with pytest.raises(UserError, match='Iteration 6: loss l_pix is not finite'):
        stopped_after(stopping, 6)
    assert not list((tmp_path / 'b' / 'training_states').iterdir())


def test_curves_forget_what_a_rollback_undoes(tmp_path):
    opt = run_options(tmp_path, {'action': 'rollback', 'every': 1})
    opt['logger']['save_checkpoint_freq'] = 4
    trainer = trainer_on(opt, poisoned(data_of(20), 6))
    trainer.run(mock.Mock())
    (((event, step), _),) = trainer.tb_logger.file_writer.add_event.call_args_list
    assert event.step == step == 5


# ---------------------------------------------------------------------- beside the gradient scaler
def overflowing(folder, data, scale: float):
    """A training in half precision whose first steps overflow, from this scale on."""
    trainer = trainer_on(run_options(folder, {'every': 1}, amp='fp16', **ROOT_LOSS), data)
    scaler = trainer.model.precision.scaler
    scaler.load_state_dict(scaler.state_dict() | {'scale': scale})
    return trainer


def test_overflow_that_the_scaler_skips_does_not_count(tmp_path):
    trainer = overflowing(tmp_path, data_of(14), 2.0**127)
    assert trainer.run() == 0
    assert trainer.model.precision.scaler.get_scale() < 2.0**127
    assert trainer.finite.count == 0


def test_overflow_that_no_scale_helps_is_found(tmp_path):
    """Gradients that are NaN whatever the scale: halved from 4 to 1, the third one counts."""
    with pytest.raises(UserError, match='Iteration 4: gradient of'):
        overflowing(tmp_path, poisoned(data_of(14), *range(2, 14), value=-1), 4.0).run()
