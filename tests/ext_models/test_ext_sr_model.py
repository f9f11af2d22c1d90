"""Optimizers, schedules, EMA and logging of the base model."""

import copy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from recipes import GENERATORS, PIXEL, batches, build, options, run
from torch import nn

from ext_models.ema import WeightAverage
from ext_models.lr_schedulers import LinearDecayLR


def psnr(**kwargs):
    return build(options('ExtSRModel', discriminator=None, pixel_opt=PIXEL, **kwargs))


def test_unknown_optimizer_and_scheduler_name_themselves():
    with pytest.raises(ValueError, match='Adamm'):
        psnr(optim_g={'type': 'Adamm', 'lr': 1e-3})
    with pytest.raises(ValueError, match='CosineLR'):
        psnr(scheduler={'type': 'CosineLR'})


@pytest.mark.parametrize(('warmup', 'expected'), [(-1, [2.0, 2.0, 1.0, 1.0]), (8, [0.25, 0.5, 0.75, 1.0])])
def test_layers_with_a_rate_of_their_own(warmup, expected):
    model = psnr(
        optim_g={'type': 'SGD', 'lr': 2.0, 'lr_mult': {'conv_last': 0.5}},
        scheduler={'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
    )
    seen = []
    for iteration in range(1, 5):
        model.update_learning_rate(iteration, warmup_iter=warmup)
        seen.append(model.get_current_learning_rate())
        model.optimizer_g.step()
    assert seen == [[rate, rate / 2] for rate in expected]
    last = {id(parameter) for parameter in model.net_g.conv_last.parameters()}
    assert {id(parameter) for parameter in model.optimizer_g.param_groups[1]['params']} == last


def rates(model, count: int) -> list[float]:
    values = []
    for iteration in range(1, count + 1):
        model.update_learning_rate(iteration)
        values.append(model.get_current_learning_rate()[0])
        model.optimizer_g.step()
    return values


@pytest.mark.parametrize(
    ('scheduler', 'expected'),
    [
        ({'type': 'LinearDecayLR', 'start': 4}, [2.0] * 5 + [1.5, 1.0, 0.5, 0.0]),
        ({'type': 'MultiStepLR', 'milestones': [2, 4], 'gamma': 0.5}, [2.0, 2.0, 1.0, 1.0, 0.5, 0.5]),
        ({'type': 'CosineAnnealingRestartLR', 'periods': [4], 'eta_min': 0.0}, [2.0, 1 + 0.5**0.5, 1.0]),
        ({'type': 'ExponentialLR', 'gamma': 0.5}, [2.0, 1.0, 0.5]),  # torch's
    ],
)
def test_schedules(scheduler, expected):
    model = psnr(optim_g={'type': 'SGD', 'lr': 2.0}, scheduler=scheduler, total_iter=8)
    assert rates(model, len(expected)) == pytest.approx(expected)


def test_linear_decay_refuses_an_empty_slope():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match='start < total_iter'):
        LinearDecayLR(optimizer, start=5, total_iter=5)


def test_average_follows_its_equation_for_parameters_and_buffers():
    torch.manual_seed(0)
    source = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    average = copy.deepcopy(source)
    tracker = WeightAverage(source, average)
    expected = {name: value.double().clone() for name, value in source.state_dict().items()}
    for _ in range(3):
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.add_(torch.randn_like(parameter))
            source(torch.randn(2, 1, 5, 5))  # moves the running statistics
        tracker.update(0.75)
        for name, value in source.state_dict().items():
            expected[name] = 0.75 * expected[name] + 0.25 * value.double()
    got = average.state_dict()
    for name in ('0.weight', '0.bias', '1.weight', '1.running_mean', '1.running_var'):
        torch.testing.assert_close(got[name].double(), expected[name], rtol=1e-5, atol=1e-6)
    assert got['1.num_batches_tracked'] == 3  # counted, not averaged


def test_validation_uses_and_saves_the_average(tmp_path):
    model = psnr(ema_decay=0.5)
    run(model, batches(2, gt_size=32))
    model.feed_data(batches(1, gt_size=32)[0])
    model.test()
    assert torch.equal(model.output, model.net_g_ema(model.lq))
    assert not torch.equal(model.output, model.net_g(model.lq))
    model.opt['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
    model.save(0, 2)
    saved = torch.load(tmp_path / 'net_g_2.pth', weights_only=True)
    assert set(saved) == {'params', 'params_ema'}


@pytest.mark.parametrize('model_type', ['ExtSRModel', 'SRModel'])
@pytest.mark.parametrize(
    ('named', 'average'), [('mine', 'mine'), ('params', 'params_ema'), ('params_ema', 'params_ema'), (None, None)]
)
def test_average_begins_with_the_weights_that_are_named(tmp_path, model_type, named, average):
    weights = {key: build_network(GENERATORS['MSRResNet']).state_dict() for key in ('mine', 'params', 'params_ema')}
    torch.save(weights if named else weights['mine'], tmp_path / 'net.pth')
    opt = options(model_type, discriminator=None, pixel_opt=PIXEL, ema_decay=0.5)
    opt['path'] = {'pretrain_network_g': str(tmp_path / 'net.pth'), 'param_key_g': named}
    model = build_model(opt)
    for net, key in ((model.net_g, named), (model.net_g_ema, average)):
        assert torch.equal(net.state_dict()['conv_last.weight'], weights[key or 'mine']['conv_last.weight'])


def test_log_is_fetched_only_when_asked():
    model = psnr()
    model.feed_data(batches(1, gt_size=32)[0])
    model.optimize_parameters(1)
    assert all(isinstance(value, torch.Tensor) for value in model.loss_dict.values())
    assert all(isinstance(value, float) for value in model.get_current_log().values())
