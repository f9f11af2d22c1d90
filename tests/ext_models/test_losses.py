"""``train:losses``: a further loss is a term like ``pixel_opt``, whatever the model, the precision or the processes."""

import pytest
import torch
from basicsr.losses.loss_util import get_refined_artifact_map
from own_losses import MODELS, data_for, gan, supervised
from recipes import FEATURE, PIXEL, batches, build, options, run
from test_resumed_steps import goes_on_alike

TERM = {'type': 'SquaredLoss', 'loss_weight': 0.3}
CHARBONNIER = {'type': 'CharbonnierLoss', 'loss_weight': 0.3, 'eps': 1e-6}  # BasicSR's


def prefix(name: str) -> str:
    return 'l_' if name == 'supervised' else 'l_g_'


def trained(name: str, **train):
    """The model after two iterations, and its logs."""
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
    'settings',
    [{}, {'amp': 'bf16', 'accumulate': 2, 'channels_last': True}],
    ids=['plain', 'in halves of bf16'],
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
@pytest.mark.parametrize('name', ['supervised', 'gan', 'degradation'])
def test_a_loss_of_features_with_style(name, style):
    loss = {**FEATURE, 'perceptual_weight': 0.1, 'style_weight': style}
    further = trained(name, losses={'vgg': loss})
    assert (f'{prefix(name)}vgg_style' in further[1][0]) == bool(style)
    names = {f'{prefix(name)}vgg': f'{prefix(name)}percep', f'{prefix(name)}vgg_style': f'{prefix(name)}style'}
    assert_same_training(further, trained(name, perceptual_opt=loss), names)


@pytest.mark.parametrize('name', MODELS)
def test_values_and_gradient_norms_in_closed_form(name):
    """Of a mean of squares: w mean d^2, whose gradient has the norm 2 w |d| / n."""
    model, logs = trained(name, losses={'own': TERM}, log_gradient_norms=1)
    error = model.output - model.gt  # the degradation network's gt is the bicubic image
    assert logs[-1][f'{prefix(name)}own'] == pytest.approx(0.3 * error.square().mean().item(), rel=1e-5)
    norm = 2 * 0.3 * torch.linalg.vector_norm(error).item() / error.numel()
    assert logs[-1]['grad_own'] == pytest.approx(norm, rel=1e-5)


# ---------------------------------------------------------------------- several
@pytest.mark.parametrize('name', MODELS)
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


@pytest.mark.parametrize('name', MODELS)
def test_chunks_equal_the_whole_batch(name):
    terms = {'own': TERM, 'charbonnier': CHARBONNIER}
    whole, in_chunks = (trained(name, losses=terms, accumulate=parts) for parts in (1, 2))
    for log, reference in zip(in_chunks[1], whole[1], strict=True):
        for key in (f'{prefix(name)}own', f'{prefix(name)}charbonnier'):
            assert log[key] == pytest.approx(reference[key], rel=1e-4)
    got = {key: value for key, value in weights(in_chunks[0]).items() if not key.startswith('net_d')}
    for key, value in weights(whole[0]).items():
        if key in got:
            torch.testing.assert_close(got[key], value, rtol=1e-4, atol=5e-6)


# ---------------------------------------------------------------------- the network's input
@pytest.mark.parametrize('parts', [1, 2])
@pytest.mark.parametrize('name', MODELS)
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


# ---------------------------------------------------------------------- resuming
@pytest.mark.parametrize('make', [supervised, gan])
def test_a_loss_with_a_memory_goes_on_from_its_state_and_may_be_taken_away_or_added(make):
    remembering = {'memory': {'type': 'RememberingLoss', 'loss_weight': 0.1}}
    goes_on_alike(make(losses=remembering))
    before = build(make(losses=remembering))
    run(before, batches(2, gt_size=32))
    assert before.step_state()['losses'] == {'memory': {'asked': torch.tensor(2.0)}}
    other = build(make(losses={'own': TERM}))
    other.load_step_state(before.step_state())
    assert 'losses' not in other.step_state()
    after = build(make(losses={'new': remembering['memory'], **remembering}))
    after.load_step_state(before.step_state())
    assert (after.losses['memory'].asked, after.losses['new'].asked) == (2, 0)


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ('losses', 'said'),
    [
        ({'pix': TERM}, 'train:losses:pix: the log has another value of this name'),
        ({'percep': TERM}, 'train:losses:percep: the log has another value of this name'),
        ({'gan': TERM}, 'train:losses:gan: the log has another value of this name'),
        ({'vgg': FEATURE, 'vgg_style': TERM}, 'train:losses:vgg_style: the log has another value of this name'),
        ({'own': {**TERM, 'loss_wieght': 1}}, 'train:losses:own: .*loss_wieght'),
    ],
)
@pytest.mark.parametrize('name', ['supervised', 'gan', 'degradation'])
def test_a_name_of_the_log_and_wrong_arguments_are_refused(name, losses, said):
    with pytest.raises(ValueError, match=said):
        build(MODELS[name](losses=losses))


def test_names_that_begin_alike_have_gradient_norms_of_their_own():
    opt = options('ExtSRModel', discriminator=None, pixel_opt=PIXEL, losses={'g_pix': TERM}, log_gradient_norms=1)
    model = build(opt)
    (log,) = run(model, batches(1, gt_size=32))
    assert log['grad_pix'] == pytest.approx(1e-2 * model.output.numel() ** -0.5, rel=1e-5)
    assert log['grad_g_pix'] > 0


def test_entries_that_are_none_are_left_out_and_one_is_needed():
    without = trained('supervised', losses={'own': TERM, 'none': None, 'pix': None})
    assert_same_training(without, trained('supervised', losses={'own': TERM}), {})
    for losses in ({}, {'own': None}):
        with pytest.raises(ValueError, match='none of pixel_opt, perceptual_opt, losses is given'):
            build(supervised(losses=losses))


# ---------------------------------------------------------------------- what the averaged network makes
def test_a_loss_that_names_sr_ema_gets_what_the_averaged_network_makes_of_its_chunk():
    """LDL as BasicSR's RealESRGANModel computes it, in a GAN, with chunks."""
    gan_opt = {'type': 'AdversarialLoss', 'loss_weight': 5e-3}
    losses = {'ldl': {'type': 'LDLLoss', 'loss_weight': 0.5}}
    train = {'gan_opt': gan_opt, 'losses': losses, 'ema_decay': 0.9, 'accumulate': 2}
    model = build(options('GANSRModel', discriminator='UNetDiscriminatorSN', **train))
    first, second = batches(2, size=4, gt_size=32)
    run(model, [first])
    with torch.no_grad():
        sr, sr_ema = model.net_g(second['lq']), model.net_g_ema(second['lq'])
    parts = [images.chunk(2) for images in (second['gt'], sr, sr_ema)]
    expected = []
    for gt, own, averaged in zip(*parts, strict=True):
        weights = get_refined_artifact_map(gt, own, averaged, 7)
        expected.append(0.5 * torch.nn.functional.l1_loss(weights * own, weights * gt))
    (log,) = run(model, [second], start=2)
    assert log['l_g_ldl'] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_averaged_weights_are_needed():
    opt = options('ExtSRModel', discriminator=None, losses={'ldl': {'type': 'LDLLoss'}})
    with pytest.raises(ValueError, match=r'train:losses:ldl: needs averaged weights\. Set train:ema_decay'):
        build(opt)
