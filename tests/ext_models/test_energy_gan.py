"""EnergyGANModel: its step against the two objectives written out, one VGG pass, the penalty, logging and refusals."""

import logging
from unittest import mock

import numpy as np
import pytest
import torch
from basicsr.archs import vgg_arch
from narrow_vgg import torchvisions_vgg
from recipes import batches, build, options, run
from torch import Tensor

from ext_arch import pretrained
from ext_core.errors import UserError
from ext_core.options.check import check_options

CONTENT = {
    'type': 'VGGFeatureLoss',
    'layer_weights': {'relu5_3': 1.0},
    'vgg_type': 'vgg16',
    'weights': 'random',
    'criterion': 'l2',
}
PENALTY = {'type': 'EnergyGradientPenalty', 'loss_weight': 10.0}
PIXEL = {'type': 'L1Loss', 'loss_weight': 0.5}
NETWORK_D = {'type': 'VGGUAE', 'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1}
SGD = {'type': 'SGD', 'lr': 0.01}


@pytest.fixture(autouse=True)
def one_vgg(narrow, monkeypatch):
    """'random' weights that are the same for every network of a test, as those of a file are."""
    torch.manual_seed(7)
    weights = {name: pretrained.load_feature_weights(name, 'random') for name in ('vgg16', 'vgg19')}
    monkeypatch.setattr(pretrained, '_random_weights', weights.get)


def energy_gan(network_d: dict | None = None, **train):
    opt = options('EnergyGANModel', **{'gan_opt': {'type': 'EnergyGANLoss'}, 'perceptual_opt': CONTENT, **train})
    opt['network_d'] = {**NETWORK_D, **(network_d or {})}
    return build(opt)


def data(count: int, size: int = 2) -> list[dict]:
    return batches(count, size=size, gt_size=32)


def weights(net) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def count_passes(*extractors) -> list[str]:
    """One entry for every pass of one of these VGGs from now on."""
    passes: list[str] = []
    for vgg in extractors:
        vgg.vgg_net.conv1_1.register_forward_hook(lambda module, inputs, output: passes.append('vgg'))
    return passes


# ---------------------------------------------------------------------- the step
@pytest.mark.parametrize('wrt', ['input', 'params'])
@pytest.mark.parametrize('share_vgg', [True, False])
def test_step_equals_the_two_objectives_written_out(share_vgg, wrt):
    """SGD steps of J_G and of J_U by plain autograd, each with its own passes."""
    train = {'gp_opt': {**PENALTY, 'wrt': wrt}, 'pixel_opt': PIXEL, 'optim_g': SGD, 'optim_d': SGD}
    model = energy_gan(share_vgg=share_vgg, **train)
    plain = energy_gan(share_vgg=False, **train)  # the same start
    (batch,) = data(1)
    log = run(model, [batch])[0]

    lq, gt, net_g, net_d = batch['lq'], batch['gt'], plain.net_g, plain.net_d
    sr = net_g(lq)
    content = plain.cri_perceptual(sr, gt)[0]
    adversarial = 1e-3 * net_d(sr).flatten(1).sum(dim=1).mean()
    j_g = 0.5 * (sr - gt).abs().mean() + content + adversarial
    of_g = torch.autograd.grad(j_g, list(net_g.parameters()))
    real = gt.clone().requires_grad_()
    u_real, u_fake = net_d(real).flatten(1).mean(dim=1), net_d(sr.detach()).flatten(1).mean(dim=1)
    if wrt == 'input':
        slopes = torch.autograd.grad(u_real.sum(), real, create_graph=True)[0].flatten(1).square().sum(dim=1)
    else:
        by_weights = torch.autograd.grad(u_real.mean(), list(net_d.parameters()), create_graph=True)
        slopes = torch.stack([gradient.square().sum() for gradient in by_weights]).sum()
    j_u = u_real.mean() + (2 * u_real.mean().detach() - u_fake).relu().mean() + 10 * slopes.mean()
    of_d = torch.autograd.grad(j_u, list(net_d.parameters()))

    for net, before, gradients in ((model.net_g, net_g, of_g), (model.net_d, net_d, of_d)):
        for got, start, gradient in zip(net.parameters(), before.parameters(), gradients, strict=True):
            assert torch.allclose(got, start - 0.01 * gradient, rtol=0, atol=1e-4 * 0.01 * gradient.abs().max() + 1e-8)
    expected = {'l_g_percep': content, 'l_g_gan': adversarial, 'l_d_real': u_real.mean(), 'l_d_gp': 10 * slopes.mean()}
    assert {name: log[name] for name in expected} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-4
    )


@pytest.mark.parametrize(('share_vgg', 'expected'), [(True, 2), (False, 4)])
def test_content_loss_shares_the_encoders_pass(share_vgg, expected):
    """One VGG pass for real and one for generated images, instead of two each."""
    model = energy_gan(share_vgg=share_vgg, gp_opt=PENALTY)
    encoder, own = model.net_d.encoder, (model.cri_perceptual or model.cri_content).vgg
    passes = count_passes(*{encoder, own})
    run(model, data(1))
    assert len(passes) == expected
    assert (own is encoder) == share_vgg


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'perceptual_opt': {**CONTENT, 'use_input_norm': False}}, 'normalise images differently'),
        ({'network_d': {'bottleneck': 'relu5_1'}}, 'ends before relu5_3'),
        ({'mask_opt': {'type': 'ErrorMask'}}, 'through a view'),
        ({'perceptual_opt': {**CONTENT, 'vgg_type': 'vgg19', 'layer_weights': {'relu5_4': 1.0}}}, 'the other vgg19'),
    ],
)
def test_what_cannot_be_shared_is_said(change, reason, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'info', said.append)
    model = energy_gan(**change)
    assert [reason in sentence for sentence in said if sentence.startswith('share_vgg')] == [True]
    assert np.isfinite(list(run(model, data(1))[0].values())).all()


def test_another_loss_or_other_weights_have_a_pass_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setattr(vgg_arch.vgg, 'vgg16', lambda pretrained: torchvisions_vgg('vgg16'))
    of_basicsr = {'type': 'PerceptualLoss', 'layer_weights': {'conv2_2': 1.0}, 'vgg_type': 'vgg16', 'criterion': 'l1'}
    state = {name: 0.9 * value for name, value in pretrained.load_feature_weights('vgg16', 'random').items()}
    torch.save(state, tmp_path / 'other.pth')
    for loss in (of_basicsr, {**CONTENT, 'weights': str(tmp_path / 'other.pth')}):
        model = energy_gan(perceptual_opt=loss)
        assert model.cri_content is None
        assert np.isfinite(list(run(model, data(1))[0].values())).all()


def test_penalty_in_every_second_iteration_weighs_twice():
    always, lazy = energy_gan(gp_opt=PENALTY), energy_gan(gp_opt={**PENALTY, 'every': 2})
    for model in (always, lazy):
        model.optimizer_d.param_groups[0]['lr'] = 0.0
        model.optimizer_g.param_groups[0]['lr'] = 0.0
        model.schedulers.clear()
    one, two = (run(model, data(4)) for model in (always, lazy))
    for index in (1, 3):
        assert two[index]['l_d_gp'] == pytest.approx(2 * one[index]['l_d_gp'], rel=1e-5)
    assert 'l_d_gp' not in two[0]
    assert two[2]['l_d_gp'] == two[1]['l_d_gp']  # in the log until the next one


def test_autoencoder_trains_alone_at_first():
    """Its first steps are those of plain regression on the real images; the generator waits, then both train."""
    model = energy_gan(autoencoder_iters=2, optim_d=SGD)
    plain = energy_gan(optim_d=SGD).net_d
    generator = weights(model.net_g)
    batches_ = data(3)
    logs = []
    for iteration, batch in enumerate(batches_[:2], 1):
        logs += run(model, [batch], iteration)
        gradients = torch.autograd.grad(plain(batch['gt']).mean(), list(plain.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(plain.parameters(), gradients, strict=True):
                parameter.sub_(0.01 * gradient)
    for got, expected in zip(model.net_d.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(old, new) for old, new in zip(generator, weights(model.net_g), strict=True))
    assert all('l_d_fake' not in log and log['out_d_fake'] > 0 for log in logs)
    log = run(model, batches_[2:], 3)[0]
    assert {'l_d_fake', 'l_g_gan'} <= log.keys()
    assert not all(torch.equal(old, new) for old, new in zip(generator, weights(model.net_g), strict=True))


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_mixed_precision_leaves_what_the_penalty_needs_in_float32(amp):
    penalty = {**PENALTY, 'every': 2}
    plain, mixed = energy_gan(gp_opt=penalty), energy_gan(gp_opt=penalty, amp=amp)
    batch = data(1)
    logs = []
    for model in (plain, mixed):
        model.feed_data(batch[0])
        model.optimize_parameters(2)  # nothing has been trained before: the energies of real images are the same
        logs.append(model.get_current_log())
    assert logs[0]['l_d_real'] == logs[1]['l_d_real']
    assert logs[0]['l_d_gp'] == logs[1]['l_d_gp'] > 0
    assert logs[1]['l_g_percep'] == pytest.approx(logs[0]['l_g_percep'], rel=0.05)
    (expected,), (got,) = (run(energy_gan(gp_opt=penalty, **keys), batch) for keys in ({}, {'amp': amp}))
    assert got['l_d_real'] == pytest.approx(expected['l_d_real'], rel=0.01)  # without penalty, in half precision
    assert got['l_d_real'] != expected['l_d_real']


def test_accumulated_chunks_equal_the_batch():
    train = {'gan_opt': {'type': 'EnergyGANLoss', 'margin': 1.0}, 'gp_opt': PENALTY, 'optim_g': SGD, 'optim_d': SGD}
    whole, parts = energy_gan(**train), energy_gan(**train, accumulate=2)
    logs = [run(model, data(2, size=4)) for model in (whole, parts)]
    for one, other in zip(*logs, strict=True):
        del one['energy_gap'], other['energy_gap']  # of the last chunk
        assert one == pytest.approx(other, rel=1e-3)


def test_step_does_not_wait_for_the_device():
    model = energy_gan(gp_opt=PENALTY, optim_g=SGD, optim_d=SGD)
    model.feed_data(data(1)[0])
    error = AssertionError('a synchronisation in the step')
    waiting = ('item', 'tolist', 'cpu', 'numpy', '__bool__', '__float__')
    with mock.patch.multiple(Tensor, **{name: mock.Mock(side_effect=error) for name in waiting}):
        model.optimize_parameters(1)
    assert model.get_current_log()['l_d_gp'] > 0


@pytest.mark.parametrize(
    ('network_d', 'train'),
    [
        ({}, {'gan_opt': {'type': 'EnergyGANLoss', 'margin': None}}),
        ({}, {'gan_opt': {'type': 'EnergyGANLoss', 'margin': 0.5, 'energy_reduction': 'mean'}}),
        ({'energy_space': 'feature'}, {'perceptual_opt': None}),
    ],
)
def test_forms_of_the_objective_train(network_d, train):
    model = energy_gan(network_d, gp_opt={**PENALTY, 'loss_weight': 100.0}, **train)
    before = weights(model.net_d), weights(model.net_g)
    log = run(model, data(2))[-1]
    assert np.isfinite(list(log.values())).all()
    for old, net in zip(before, (model.net_d, model.net_g), strict=True):
        assert all(not torch.equal(a, b) for a, b in zip(old, weights(net), strict=True))
    assert model.panels()['energy_real'].shape[2] == (16 if network_d else 32)


# ---------------------------------------------------------------------- health
def test_panels_show_where_the_energy_sits():
    model = energy_gan(gp_opt=PENALTY)
    run(model, data(1))
    panels = model.panels()
    maps = torch.cat([panels['energy_real'], panels['energy_fake']])
    assert maps.shape == (4, 1, 32, 32)
    assert maps.min() >= 0
    assert maps.max() == 1
    errors = model.energy_maps['energy_fake'].mean(dim=1, keepdim=True)
    below = panels['energy_fake'] < 1
    ratio = panels['energy_fake'][below] / errors[below]
    assert torch.allclose(ratio, ratio[0].expand_as(ratio), rtol=1e-4)  # one scale


def test_scalars_of_the_log():
    log = run(energy_gan(gp_opt=PENALTY, log_gradient_norms=1), data(1))[0]
    energies = {'out_d_real', 'out_d_fake', 'energy_gap', 'margin'}
    assert energies | {'l_d_real', 'l_d_fake', 'l_d_gp', 'l_g_gan', 'grad_gan', 'grad_percep'} <= log.keys()
    assert log['energy_gap'] == pytest.approx(log['out_d_fake'] - log['out_d_real'], rel=1e-5)


def test_an_explosion_is_said_in_words(monkeypatch):
    model = energy_gan(gan_opt={'type': 'EnergyGANLoss', 'margin': None}, optim_d={'type': 'SGD', 'lr': 0.0})
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'warning', said.append)
    run(model, data(1))
    assert not said
    model.net_d.last[0].bias.data.fill_(1000.0)
    run(model, data(2))
    (sentence,) = said
    assert sentence.startswith('The energy explodes')


def test_the_watch_goes_on_after_resuming():
    one, other = energy_gan(), energy_gan()
    run(one, data(1))
    other.load_step_state(one.step_state())
    assert other.health.state_dict() == one.health.state_dict() != energy_gan().health.state_dict()
    old = one.step_state()
    del old['energy_health']  # a state that GANSRModel saved
    energy_gan().load_step_state(old)


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(('scale', 'crop', 'remedy'), [(4, 40, 32), (4, 7, 16), (3, 105, 96)])
def test_crops_that_do_not_fit_are_refused_before_training(scale, crop, remedy):
    opt = options('EnergyGANModel', gan_opt={'type': 'EnergyGANLoss'})
    opt.update(network_d=NETWORK_D, datasets={'train': {'gt_size': crop}}, scale=scale)
    message = rf'gt_size is {crop}, but VGGUAE takes images of multiples of 16\. Set it to {remedy}\.'
    with pytest.raises(UserError, match=message):
        check_options(opt, is_train=True)


@pytest.mark.parametrize(
    ('train', 'message'),
    [
        ({'gp_opt': PENALTY, 'compile': True}, 'cannot be differentiated twice'),
        ({'gp_opt': {'type': 'L1Loss'}}, "'L1Loss' takes no energies. EnergyGANModel needs EnergyGradientPenalty"),
        ({'gan_opt': {'type': 'AdversarialLoss'}}, "'AdversarialLoss' takes no energies. EnergyGANModel needs"),
        ({'autoencoder_iters': '1e3'}, 'autoencoder_iters must be a whole number of at least 0 or ~'),
        ({'autoencoder_iters': -5}, 'autoencoder_iters must be'),
        ({'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3}}, 'gives no energies'),
        ({'gp_opt': {**PENALTY, 'loss_weight': -1}}, 'gp_opt: EnergyGradientPenalty: loss_weight must be 0 or more'),
    ],
)
def test_options_that_do_not_go_together_are_refused(train, message):
    train = {'gan_opt': {'type': 'EnergyGANLoss'}, 'pixel_opt': PIXEL, **train}
    network_d = train.pop('network_d', NETWORK_D)
    opt = options('EnergyGANModel', **train)
    opt.update(network_d=network_d, datasets={'train': {'gt_size': 32}})
    with pytest.raises(UserError, match=message):
        check_options(opt, is_train=True)
