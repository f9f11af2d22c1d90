"""``train:losses``: a further loss is a term like ``pixel_opt``, whatever the model and the precision."""

import pytest
import torch
from basicsr.archs import build_network
from own_losses import MODELS, data_for, degradation, gan, supervised
from recipes import FEATURE, PIXEL, batches, build, options, run
from test_resumed_steps import goes_on_alike

TERM = {'type': 'SquaredLoss', 'loss_weight': 0.3}


def prefix(name: str) -> str:
    return 'l_' if name == 'supervised' else 'l_g_'


def trained(name: str, **train):
    """The model after three iterations, and its logs."""
    model = build(MODELS[name](ema_decay=0.5, **train))
    return model, run(model, data_for(name))


def weights(model) -> dict[str, torch.Tensor]:
    nets = [net for net in ('net_g', 'net_d', 'net_g_ema') if getattr(model, net, None) is not None]
    return {f'{net}.{key}': value for net in nets for key, value in getattr(model, net).state_dict().items()}


def assert_same_training(one, other, renamed: dict[str, str]) -> None:
    """Equal weights and logs, bit for bit; the first log with other names."""
    (model, logs), (expected, expected_logs) = one, other
    assert [{renamed.get(key, key): value for key, value in log.items()} for log in logs] == expected_logs
    got = weights(model)
    for key, value in weights(expected).items():
        assert torch.equal(got[key], value), key


# ---------------------------------------------------------------------- one term
@pytest.mark.parametrize(
    'settings', [{}, {'amp': 'bf16', 'accumulate': 2, 'channels_last': True}], ids=lambda settings: ', '.join(settings)
)
@pytest.mark.parametrize('name', MODELS)
def test_a_further_loss_equals_the_pixel_loss_bit_for_bit(name, settings):
    """Its gradient norm too."""
    settings = {**settings, 'log_gradient_norms': 1}
    further = trained(name, losses={'own': TERM}, **settings)
    assert {f'{prefix(name)}own', 'grad_own'} <= further[1][0].keys()
    expected = trained(name, pixel_opt=TERM, **settings)
    assert_same_training(further, expected, {f'{prefix(name)}own': f'{prefix(name)}pix', 'grad_own': 'grad_pix'})


@pytest.mark.parametrize('style', [0.0, 0.5])
def test_a_loss_of_features_with_style(style):
    loss = {**FEATURE, 'perceptual_weight': 0.1, 'style_weight': style}
    further = trained('supervised', losses={'vgg': loss})
    assert ('l_vgg_style' in further[1][0]) == bool(style)
    names = {'l_vgg': 'l_percep', 'l_vgg_style': 'l_style'}
    assert_same_training(further, trained('supervised', perceptual_opt=loss), names)


# ---------------------------------------------------------------------- several
@pytest.mark.parametrize('name', ['supervised', 'gan', 'degradation'])
def test_two_halves_are_a_whole_and_come_after_the_pixel_loss(name):
    half = {**TERM, 'loss_weight': 0.15}
    model, logs = trained(name, losses={'one': half, 'two': half}, pixel_opt=PIXEL)
    expected, expected_logs = trained(name, losses={'whole': TERM}, pixel_opt=PIXEL)
    names = [key for key in logs[0] if key.startswith(prefix(name))]
    assert names[:3] == [prefix(name) + key for key in ('pix', 'one', 'two')]
    for log, reference in zip(logs, expected_logs, strict=True):
        assert 2 * log[f'{prefix(name)}one'] == pytest.approx(reference[f'{prefix(name)}whole'], rel=1e-4)
    got = weights(model)
    for key, value in weights(expected).items():
        torch.testing.assert_close(got[key], value, rtol=1e-4, atol=1e-6)


def test_an_entry_that_is_none_is_left_out():
    without = trained('supervised', losses={'own': TERM, 'none': None, 'pix': None})
    assert_same_training(without, trained('supervised', losses={'own': TERM}), {})


# ---------------------------------------------------------------------- the network's input
@pytest.mark.parametrize('parts', [1, 2])
@pytest.mark.parametrize('name', ['supervised', 'gan', 'degradation_gan'])
def test_a_loss_that_names_lq_gets_the_input_of_its_chunk(name, parts):
    term = {'type': 'InputLoss', 'loss_weight': 1.0}
    model = build(MODELS[name](losses={'input': term}, accumulate=parts))
    calls = []
    model.net_g.register_forward_hook(lambda module, inputs, output: calls.append((inputs[0], output.detach())))
    (log,) = run(model, data_for(name, 1))
    seen = model.losses['input'].seen
    assert len(seen) == len(calls) == parts
    assert all(torch.equal(image, given) for image, (given, _) in zip(seen, calls, strict=True))
    gt = model.gt.chunk(parts)
    values = [lq.mean() * (sr - target).square().mean() for (lq, sr), target in zip(calls, gt, strict=True)]
    assert log[f'{prefix(name)}input'] == pytest.approx(sum(values).item() / parts, rel=1e-5)


def test_lq_is_what_a_degradation_network_takes():
    for network, attribute in (('DegradationNet', 'hr'), ('TinyFilter', 'gt')):
        model = build(degradation(network=network, losses={'input': {'type': 'InputLoss'}}))
        run(model, data_for('degradation', 1))
        assert torch.equal(model.losses['input'].seen[0], getattr(model, attribute)), network


def test_lq_is_what_a_degradation_network_made(tmp_path):
    degrader = {'type': 'DegradationNet', 'num_feat': 4, 'scale': 4}
    torch.save({'params': build_network(degrader).state_dict()}, tmp_path / 'net.pth')
    opt = MODELS['adaptation'](losses={'input': {'type': 'InputLoss'}})
    opt['network_degrade'] = degrader
    opt['path'] = {'pretrain_network_degrade': str(tmp_path / 'net.pth'), 'ignore_resume_networks': ['network_degrade']}
    model = build(opt)
    run(model, [{'gt': batches(1, gt_size=32)[0]['gt']}])
    assert torch.equal(model.losses['input'].seen[0], model.lq)


# ---------------------------------------------------------------------- resuming
@pytest.mark.parametrize('make', [supervised, gan])
def test_a_loss_with_a_memory_goes_on_from_its_state(make):
    remembering = {'memory': {'type': 'RememberingLoss', 'loss_weight': 0.1}}
    goes_on_alike(make(losses=remembering))
    model = build(make(losses=remembering))
    run(model, batches(2, gt_size=32))
    assert model.step_state()['losses'] == {'memory': {'asked': torch.tensor(2.0)}}
    assert 'losses' not in build(make(losses={'own': TERM})).step_state()


def test_a_loss_with_a_memory_may_be_taken_away_or_added():
    remembering = {'memory': {'type': 'RememberingLoss', 'loss_weight': 0.1}}
    before = build(supervised(losses=remembering, pixel_opt=PIXEL))
    run(before, batches(2, gt_size=32))
    build(supervised(pixel_opt=PIXEL)).load_step_state(before.step_state())
    after = build(supervised(losses={'new': remembering['memory'], **remembering}))
    after.load_step_state(before.step_state())
    assert (after.losses['memory'].asked, after.losses['new'].asked) == (2, 0)


# ---------------------------------------------------------------------- refusals


def test_names_that_begin_alike_have_gradient_norms_of_their_own():
    opt = options('ExtSRModel', discriminator=None, pixel_opt=PIXEL, losses={'g_pix': TERM}, log_gradient_norms=1)
    model = build(opt)
    (log,) = run(model, batches(1, gt_size=32))
    assert log['grad_pix'] == pytest.approx(1e-2 * model.output.numel() ** -0.5, rel=1e-5)
    assert log['grad_g_pix'] > 0
