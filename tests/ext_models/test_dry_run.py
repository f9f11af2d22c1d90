"""``--dry-run`` tries every phase of a training, as the loop would come to it."""

import re
import warnings
from types import SimpleNamespace

import pytest
import torch
from recipes import PIXEL, batches, options

from ext_core.errors import UserError
from ext_core.train import dry_run
from ext_core.train.models import build_model

GAN = {'type': 'AdversarialLoss', 'loss_weight': 5e-3}
MSE = {'type': 'MSELoss', 'loss_weight': 1.0, 'reduction': 'mean'}


def two_phases(total_iter: int = 5000, **train) -> dict:
    """A generator that trains alone for 1000 iterations."""
    opt = options('GANSRModel', gan_opt=GAN, pixel_opt=PIXEL, pretrain_iters=1000, pretrain_opt=MSE, **train)
    opt['train'] |= {'total_iter': total_iter, 'scheduler': {'type': 'LinearDecayLR', 'start': 0}}
    return opt


@pytest.fixture
def tried(monkeypatch):
    """``tried(opt, gt_size=128)``: what a dry run of the options gives, on batches made here."""

    def run(opt: dict, gt_size: int = 128) -> tuple:
        monkeypatch.setattr(dry_run, 'TrainingBatches', lambda _: (batch for batch in batches(6, gt_size=gt_size)))
        monkeypatch.setattr(dry_run, 'evaluation_loaders', lambda _: [])
        return dry_run.iterate(opt)

    return run


def iterations(costs: dict) -> dict[str, list[int]]:
    return {phase: list(tried) for phase, (tried, _) in costs.items()}


@pytest.mark.parametrize(
    ('parts', 'total_iter', 'expected'),
    [
        ({}, 9, {'training': [1, 2]}),
        ({}, 1, {'training': [1]}),
        ({'net_d': 1, 'net_d_init_iters': 0, 'net_d_iters': 1}, 9, {'adversarial': [1, 2]}),
        ({'net_d': 1, 'net_d_init_iters': 4}, 9, {'discriminator alone': [1, 2], 'adversarial': [5, 6]}),
        ({'net_d': 1, 'net_d_init_iters': 4, 'net_d_iters': 5}, 99, {'discriminator alone': [1, 2],
                                                                     'adversarial': [9, 10]}),
        ({'net_d': 1, 'net_d_init_iters': 4}, 4, {'discriminator alone': [1, 2]}),
        ({'net_d': 1, 'phase_ends': lambda: {'a': 1, 'b': 0, 'c': 3}}, 9, {'a': [1], 'c': [2, 3],
                                                                           'adversarial': [4, 5]}),
        ({'net_d': None, 'phase_ends': lambda: {'a': 3}, 'step_period': 16}, 99, {'a': [1, 2], 'training': [15, 16]}),
        ({'net_d': 1, 'phase_ends': lambda: {'a': 3}, 'step_period': 16}, 9, {'a': [1, 2], 'adversarial': [8, 9]}),
    ],
)  # fmt: skip
def test_two_iterations_of_each_phase(parts, total_iter, expected):
    found = dry_run.phases_of(SimpleNamespace(**parts), total_iter)
    assert {phase: list(tried) for phase, tried in found.items()} == expected


def test_the_adversarial_phase_runs_where_it_begins(tried):
    model, costs = tried(two_phases())
    assert iterations(costs) == {'generator alone': [1, 2], 'adversarial': [1001, 1002]}
    assert {'l_g_pix', 'l_g_gan', 'l_d_real', 'l_d_fake'} < model.loss_dict.keys()
    for optimizer in (model.optimizer_g, model.optimizer_d):  # the rate of iteration 1002
        assert optimizer.param_groups[0]['lr'] == pytest.approx(1e-3 * (1 - 1001 / 5000))
    texts = [text for _, text in costs.values()]
    assert texts[1].startswith('adversarial, iterations 1001, 1002: seconds per iteration: ')
    assert all('peak process memory: ' in text for text in texts)
    assert 'l_g_gan' in texts[1].split('; losses: ')[1]
    assert [text.count('\n  Gradients at the generated images: ') for text in texts] == [1, 1]


def test_a_loss_that_does_not_reach_the_generator_is_told(tried):
    opt = two_phases()
    opt['train']['gan_opt'] = GAN | {'loss_weight': 0.0}
    texts = [text for _, text in tried(opt)[1].values()]
    assert 'warning' not in texts[0]
    assert '\n  warning: l_g_gan: its gradient at the generated images is zero' in texts[1]


def test_cost_of_one_iteration_on_a_gpu(tried, monkeypatch):
    opt = options('ExtSRModel', pixel_opt=PIXEL)
    opt['train']['total_iter'] = 1
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda: None)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 2048.4 * 2**20)
    ((_, text),) = tried(opt)[1].values()
    line = text.splitlines()[0]
    assert re.fullmatch(
        r'training, iterations 1: seconds per iteration: \d+\.\d{3} \(with warm-up\), peak GPU memory: 2,048 MiB, '
        r'peak process memory: [\d,]+ MiB; losses: l_pix',
        line,
    )


def test_errors_of_a_later_phase_show(tried):
    """The discriminator takes images of 128 x 128."""
    with pytest.raises(UserError, match=r"iteration 1001, of phase 'adversarial', failed on images.*\(2, 3, 64, 64\)"):
        tried(two_phases(), gt_size=64)


def test_a_bad_loss_of_a_later_phase_shows(tried):
    opt = two_phases()
    opt['train']['pixel_opt'] = PIXEL | {'loss_weight': float('inf')}
    with pytest.raises(UserError, match=r'loss l_g_pix is not finite in iteration 1001 \(phase: adversarial\)'):
        tried(opt)


def test_an_energy_gan_has_the_phase_of_its_autoencoder(tried):
    objective, penalty = {'type': 'EnergyGANLoss'}, {'type': 'EnergyGradientPenalty', 'every': 4}
    phases = {'pretrain_iters': 3, 'pretrain_opt': MSE, 'autoencoder_iters': 4, 'net_d_iters': 3}
    opt = options('EnergyGANModel', gan_opt=objective, gp_opt=penalty, pixel_opt=PIXEL, **phases)
    opt['network_d'] = {'type': 'VGGUAE', 'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1}
    opt['train']['total_iter'] = 100
    model, costs = tried(opt, gt_size=32)
    assert iterations(costs) == {'generator alone': [1, 2], 'autoencoder alone': [4, 5], 'adversarial': [11, 12]}
    assert {'l_g_gan', 'l_d_gp'} < model.loss_dict.keys()


@pytest.mark.parametrize('train', [{'pretrain_iters': 2, 'pretrain_opt': MSE}, {'net_d_init_iters': 2}])
def test_schedules_of_players_that_wait_cause_no_warning(train):
    """The rate follows the iteration, whoever trains."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model = build_model(options('GANSRModel', gan_opt=GAN, pixel_opt=PIXEL, **train))
        for iteration, batch in enumerate(batches(4), 1):
            model.update_learning_rate(iteration)
            model.feed_data(batch)
            model.optimize_parameters(iteration)
    assert [optimizer.param_groups[0]['lr'] for optimizer in model.optimizers] == [5e-4, 5e-4]


@pytest.mark.parametrize(
    ('able', 'amp', 'said'),
    [(True, None, 'This processor has bfloat16'), (False, 'bf16', 'only imitates 16 bits: amp: bf16'),
     (True, 'bf16', ''), (False, None, ''), (None, None, '')],
)  # fmt: skip
def test_it_says_what_the_processor_can_do(tried, monkeypatch, capsys, able, amp, said):
    monkeypatch.setattr(dry_run, 'processor_has_bf16', lambda: able)
    opt = options('ExtSRModel', discriminator=None, pixel_opt=PIXEL, **({'amp': amp} if amp else {}))
    monkeypatch.setattr(dry_run, 'iterate', lambda opt: (build_model_with_images(opt), {}))
    assert dry_run.run(opt) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert said in last
    assert ('This processor' in last) == bool(said)


def build_model_with_images(opt: dict):
    model = build_model(opt)
    model.feed_data(batches(1, gt_size=32)[0])
    return model
