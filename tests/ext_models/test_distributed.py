"""Two processes on halves of each batch compute what one process does on the whole batch."""

from unittest import mock

import pytest
import tiny_energy  # noqa: F401  # registers TinyEnergy
import torch
from basicsr.losses import build_loss
from processes import on_processes
from recipes import FEATURE, PIXEL, batches, build, options, run, share_of

from ext_arch import pretrained

ENERGY = {
    'model_type': 'EnergyGANModel',
    'gan_opt': {'type': 'EnergyGANLoss'},
    'gp_opt': {'type': 'EnergyGradientPenalty'},
    'perceptual_opt': {**FEATURE, 'layer_weights': {'relu5_3': 1.0}},
}
SCENARIOS = {
    'standard': {'gan_opt': {'type': 'AdversarialLoss', 'loss_weight': 5e-3}},
    'relativistic, masked': {
        'gan_opt': {'type': 'RelativisticAdversarialLoss', 'loss_weight': 5e-3, 'global_mean': True},
        'mask_opt': {'type': 'ErrorMask', 'error_scale': 10.0},
    },
    'focal, masked, high-pass': {
        'gan_opt': {'type': 'FocalRelativisticAdversarialLoss', 'loss_weight': 5e-3},
        'mask_opt': {'type': 'ErrorMask', 'error_scale': 10.0},
        'highpass_opt': {'type': 'HighPassView'},
    },
    'energy, masked': {'gan_opt': {'type': 'EnergyGANLoss'}, 'mask_opt': {'type': 'ErrorMask', 'error_scale': 10.0}},
    'energy, penalty, shared VGG': ENERGY,
    'energy, penalty, shared VGG, bf16': {**ENERGY, 'amp': 'bf16'},
    'accumulated, a further loss': {
        'gan_opt': {'type': 'AdversarialLoss', 'loss_weight': 5e-3},
        'losses': {'further': {'type': 'CharbonnierLoss', 'loss_weight': 0.3}},
        'accumulate': 2,
    },
}


def train(scenario: str, world_size: int = 1, rank: int = 0) -> dict:
    """Three iterations on a global batch of 4; the discriminator has no BatchNorm, whose statistics are per process."""
    torch.set_num_threads(1)
    opt = options(
        **{'model_type': 'GANSRModel', 'pixel_opt': PIXEL, 'discriminator': 'UNetDiscriminatorSN', 'ema_decay': 0.5}
        | SCENARIOS[scenario]
    )
    if opt['model_type'] == 'EnergyGANModel':
        opt['network_d'] = {'type': 'VGGUAE', 'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1}
    elif opt['train']['gan_opt']['type'] == 'EnergyGANLoss':
        opt['network_d'] = {'type': 'TinyEnergy'}
    opt['train']['optim_g'] = opt['train']['optim_d'] = {'type': 'SGD', 'lr': 0.01}
    opt.update(dist=world_size > 1, world_size=world_size, rank=rank)
    torch.manual_seed(7)
    vgg = pretrained.load_feature_weights('vgg16', 'random')
    with mock.patch.object(pretrained, '_random_weights', return_value=vgg):  # one for both, as those of a file are
        model = build(opt)
    assert (getattr(model, 'cri_content', None) is not None) == ('shared VGG' in scenario)
    logs = run(model, share_of(batches(3, size=4, gt_size=32), world_size, rank))
    return {
        'logs': logs,
        'net_g': model.get_bare_model(model.net_g).state_dict(),
        'net_d': model.get_bare_model(model.net_d).state_dict(),
        'ema': model.net_g_ema.state_dict(),
        'objective': model.objective.state_dict(),
    }


def train_all(rank: int) -> dict:
    return {scenario: train(scenario, 2, rank) for scenario in SCENARIOS}


@pytest.fixture(scope='module')
def two_processes() -> dict:
    """What the first of two processes computed, by scenario."""
    return on_processes(train_all)[0]


def of_networks(log: dict[str, float]) -> dict[str, float]:
    """A log without the views' statistics, which describe each process's own images."""
    return {name: value for name, value in log.items() if not name.startswith(('mask', 'highpass'))}


def test_adaptive_margin_follows_all_processes(two_processes):
    average = two_processes['energy, masked']['objective']
    logs = two_processes['energy, masked']['logs']
    weights = [0.01 * 0.99**age for age in (2, 1, 0)]
    expected = sum(weight * log['l_d_real'] for weight, log in zip(weights, logs, strict=True))
    assert average['real_sum'].item() == pytest.approx(expected, rel=1e-5)
    assert average['real_weight'].item() == pytest.approx(sum(weights), rel=1e-5)


@pytest.mark.parametrize('scenario', list(SCENARIOS))
def test_two_processes_equal_one(two_processes, scenario):
    """To rounding, float32's or bfloat16's: the sum over the batch is split differently."""
    coarse = 100 if SCENARIOS[scenario].get('amp') else 1
    got, expected = two_processes[scenario], train(scenario)
    for log, expected_log in zip(got['logs'], expected['logs'], strict=True):
        assert of_networks(log) == pytest.approx(of_networks(expected_log), rel=1e-3 * coarse**0.5)
    for network in ('net_g', 'net_d', 'ema', 'objective'):
        for name, value in expected[network].items():
            torch.testing.assert_close(
                got[network][name], value, rtol=1e-4 * coarse, atol=5e-6 * coarse, msg=lambda m, n=name: f'{n}: {m}'
            )


def relative_to_all(rank: int, world_size: int = 2) -> dict[str, torch.Tensor]:
    """Losses of logits whose means differ from rank to rank."""
    real, fake = (torch.arange(8.0).view(4, 2) + shift for shift in (0, 1))
    mine = slice(rank * 4 // world_size, (rank + 1) * 4 // world_size)
    loss = build_loss({'type': 'RelativisticAdversarialLoss', 'loss_weight': 1.0, 'global_mean': True})
    parts = loss.discriminator_losses(real[mine], fake[mine])
    return {'generator': loss.generator_loss(real[mine], fake[mine]), **parts}


def test_relativistic_means_are_those_of_all_processes():
    ranks, expected = on_processes(relative_to_all), relative_to_all(0, 1)
    for name, value in expected.items():
        torch.testing.assert_close((ranks[0][name] + ranks[1][name]) / 2, value)
