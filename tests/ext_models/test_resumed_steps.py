"""Every optimizer, schedule and phase goes on from its saved state as if nothing had happened, its log lines too."""

import io

import pytest
import tiny_energy  # noqa: F401  # registers the network
import torch
from recipes import PIXEL, batches, build, options

from studies.sameness import difference

STOP, END = 3, 7
SGD = {'type': 'SGD', 'lr': 1e-2, 'momentum': 0.9, 'nesterov': True}
OPTIMIZERS = {
    'SGD without momentum': {'type': 'SGD', 'lr': 1e-2},
    'SGD': SGD,
    'fused Adam': {'type': 'Adam', 'lr': 1e-3, 'fused': True},
    'foreach Adam with amsgrad': {'type': 'Adam', 'lr': 1e-3, 'foreach': True, 'amsgrad': True},
    'AdamW': {'type': 'AdamW', 'lr': 1e-3},
    'NAdam': {'type': 'NAdam', 'lr': 1e-3},
    'RMSprop': {'type': 'RMSprop', 'lr': 1e-3, 'momentum': 0.5, 'centered': True},
    'Adafactor': {'type': 'Adafactor', 'lr': 1e-3},
    'SOAP': {'type': 'SOAP', 'lr': 1e-3, 'precondition_frequency': 2},  # of the package pytorch_optimizer
}
SCHEDULES = {
    'steps': {'type': 'MultiStepLR', 'milestones': [2, 5], 'gamma': 0.5},
    'steps with restarts': {'type': 'MultiStepRestartLR', 'milestones': [2, 5], 'gamma': 0.5, 'restarts': [0, 4],
                            'restart_weights': [1, 0.5]},
    'cosine with restarts': {'type': 'CosineAnnealingRestartLR', 'periods': [2, 3, 9], 'restart_weights': [1, 0.5, 0.3],
                             'eta_min': 1e-5},
    'linear': {'type': 'LinearDecayLR', 'start': 2},
    'torch: cosine': {'type': 'CosineAnnealingLR', 'T_max': 6},
    'torch: cosine with warm restarts': {'type': 'CosineAnnealingWarmRestarts', 'T_0': 2, 'T_mult': 2},
    'torch: one cycle': {'type': 'OneCycleLR', 'max_lr': 0.01, 'total_steps': 9},
    'torch: cyclic': {'type': 'CyclicLR', 'base_lr': 1e-4, 'max_lr': 1e-2, 'step_size_up': 2},
    'torch: polynomial': {'type': 'PolynomialLR', 'total_iters': 6},
    'torch: linear': {'type': 'LinearLR', 'total_iters': 5},
}  # fmt: skip
GAN = {'pixel_opt': PIXEL, 'gan_opt': {'type': 'AdversarialLoss', 'gan_type': 'vanilla', 'loss_weight': 5e-3}}
PHASES = {
    'pretraining ends': {**GAN, 'pretrain_iters': 4, 'pretrain_opt': PIXEL},
    'discriminator more often': {**GAN, 'net_d_iters': 2},
    'discriminator first': {**GAN, 'net_d_init_iters': 4},
    'gradients measured now and then': {**GAN, 'log_gradient_norms': 2},
}


def through_file(content: dict) -> dict:
    """As it comes back from a checkpoint."""
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def snapshot(model) -> dict:
    names = [name for name in ('net_g', 'net_g_ema', 'net_d') if getattr(model, name, None) is not None]
    return through_file(
        {
            'iter': STOP,
            'networks': {name: getattr(model, name).state_dict() for name in names},
            'optimizers': [optimizer.state_dict() for optimizer in model.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in model.schedulers],
            'scaler': model.precision.scaler.state_dict(),
            'step': model.step_state(),
        }
    )


def goes_on_alike(opt: dict, gt_size: int = 32, warmup: int = -1) -> None:
    data = batches(END, gt_size=gt_size)
    one, other = build(opt), build(opt, seed=1)
    _train(one, data[:STOP], 1, warmup)
    state = snapshot(one)
    for name, weights in state['networks'].items():
        getattr(other, name).load_state_dict(weights)
    other.resume_training(state)
    other.precision.scaler.load_state_dict(state['scaler'])
    other.load_step_state(state['step'])
    logs = [_train(model, data[STOP:], STOP + 1, warmup) for model in (one, other)]
    assert len(logs[0]) == END - STOP
    assert difference(*logs) is None
    assert difference(snapshot(one), snapshot(other)) is None


def _train(model, data: list[dict], start: int, warmup: int) -> list[dict]:
    logs = []
    for iteration, batch in enumerate(data, start):
        model.update_learning_rate(iteration, warmup_iter=warmup)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        rates = {'lr': model.get_current_learning_rate()}
        logs.append({**model.get_current_log(), **rates})
    return logs


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_optimizers(optimizer):
    if optimizer == 'SOAP':
        pytest.importorskip('pytorch_optimizer', reason='pytorch_optimizer is not installed')
    goes_on_alike(options('ExtSRModel', discriminator=None, pixel_opt=PIXEL, optim_g=OPTIMIZERS[optimizer]))


@pytest.mark.parametrize('warmup', [-1, 5])
@pytest.mark.parametrize('schedule', SCHEDULES)
def test_schedules(schedule, warmup):
    train = {'optim_g': SGD, 'scheduler': SCHEDULES[schedule], 'ema_decay': 0.9}
    goes_on_alike(options('ExtSRModel', discriminator=None, pixel_opt=PIXEL, **train), warmup=warmup)


@pytest.mark.parametrize('phase', PHASES)
def test_phases(phase):
    goes_on_alike(options('GANSRModel', discriminator='UNetDiscriminatorSN', **PHASES[phase]))


@pytest.mark.parametrize('train', [{'amp': 'fp16'}, {'amp': 'bf16'}, {'accumulate': 2, 'channels_last': True}])
def test_precision_and_accumulation(train):
    goes_on_alike(options('GANSRModel', discriminator='UNetDiscriminatorSN', **GAN, **train))


def test_energy_gan_with_its_autoencoder_first_and_a_penalty_now_and_then():
    """Its margin is an average over the run; its penalty stands in the log until the next one."""
    opt = options(
        'EnergyGANModel',
        pixel_opt=PIXEL,
        gan_opt={'type': 'EnergyGANLoss', 'margin': 'adaptive'},
        gp_opt={'type': 'EnergyGradientPenalty', 'loss_weight': 10, 'every': 2},
        autoencoder_iters=4,
    )
    opt['network_d'] = {'type': 'TinyEnergy'}
    goes_on_alike(opt)


def test_fused_optimizers_go_on_in_another_memory_format():
    """States keep the memory format they were saved in, which ``fused`` takes for that of the weights."""
    data, train = batches(2), {'pixel_opt': PIXEL, 'optim_g': OPTIMIZERS['fused Adam']}
    one = build(options('ExtSRModel', discriminator=None, channels_last=True, **train))
    _train(one, data[:1], 1, -1)
    state = snapshot(one)
    plain, last = (build(options('ExtSRModel', discriminator=None, channels_last=c, **train)) for c in (False, True))
    for model in (plain, last):
        model.net_g.load_state_dict(state['networks']['net_g'])
        model.resume_training(through_file(state))
        _train(model, data[1:], 2, -1)
    for name, weight in last.net_g.state_dict().items():
        torch.testing.assert_close(plain.net_g.state_dict()[name], weight, rtol=0, atol=1e-5)
