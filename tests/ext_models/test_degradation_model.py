"""The degradation model's step: its losses, inputs, variants and what it refuses."""

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils.matlab_functions import imresize
from basicsr.utils.registry import ARCH_REGISTRY
from degradation import FEATURE, HIGH_PASS, MMD, PIXEL, SCALE, degradation_options, problems, unpaired
from processes import on_processes
from recipes import build, run, share_of
from torch import Tensor

from ext_arch.resize import bicubic_downscale
from ext_core.options import check
from ext_losses.frequency import HighPass

STILL = {'type': 'SGD', 'lr': 0.0}
ALL = {'pixel_opt': PIXEL, 'perceptual_opt': FEATURE, 'mmd_opt': MMD}
ADVERSARIAL = {'adversarial': True, 'highpass_opt': HIGH_PASS}


def parameters(net) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------------- losses
def test_losses_and_their_gradient_equal_an_independent_computation():
    opt = degradation_options(**ALL, optim_g=STILL)
    model = build(opt)
    (batch,) = unpaired(1)
    (log,) = run(model, [batch])

    net = build_network(opt['network_g'])
    net.load_state_dict(model.net_g.state_dict())
    generated = net(batch['gt'])
    bicubic = torch.stack([imresize(image, 1 / SCALE) for image in batch['gt']])
    losses = {
        'l_g_pix': (generated - bicubic).abs().mean(),
        'l_g_percep': model.cri_perceptual(generated, bicubic)[0],
        'l_g_mmd': build_loss(MMD)(generated, batch['real_lq']),
    }
    sum(losses.values()).backward()
    assert log == pytest.approx({name: loss.item() for name, loss in losses.items()}, rel=1e-4)
    for got, expected in zip(model.net_g.parameters(), net.parameters(), strict=True):
        assert got.grad.abs().max() > 0
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('network', ['DegradationNet', 'TinyFilter'])
def test_network_gets_what_its_class_asks_for(network):
    model = build(degradation_options(network, pixel_opt=PIXEL))
    seen = []
    model.net_g.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].clone()))
    (batch,) = unpaired(1)
    run(model, [batch])
    bicubic = bicubic_downscale(batch['gt'], SCALE)
    assert torch.equal(seen[0], batch['gt'] if network == 'DegradationNet' else bicubic)
    panels = model.panels()
    assert list(panels) == ['hr', 'bicubic', 'generated', 'real']
    for name, expected in {'hr': batch['gt'], 'bicubic': bicubic, 'real': batch['real_lq']}.items():
        assert torch.equal(panels[name], expected)
    assert panels['generated'].shape == bicubic.shape


def test_bicubic_images_of_the_dataset_are_taken():
    model = build(degradation_options(pixel_opt=PIXEL, optim_g=STILL))
    (batch,) = unpaired(1)
    batch['lq'] = torch.zeros_like(batch['real_lq'])
    (log,) = run(model, [batch])
    assert log['l_g_pix'] == pytest.approx(model.output.abs().mean().item(), rel=1e-5)


def test_real_images_are_compared_with_noisy_ones_and_bicubic_ones_with_clean_ones():
    model = build(degradation_options(**ALL, optim_g=STILL, noise=3.0, shot_noise=6.0))
    seen: dict[str, Tensor] = {}
    for name in ('cri_pix', 'cri_mmd'):
        getattr(model, name).register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    run(model, unpaired(1))
    assert torch.equal(seen['cri_pix'], model.output)
    noise = (seen['cri_mmd'] - model.output) * 255
    wanted = (9 + 36 * model.output.clamp(0, 1)).mean().sqrt()
    assert noise.std().item() == pytest.approx(wanted.item(), rel=0.05)


# ---------------------------------------------------------------------- variants
@pytest.mark.parametrize('network', ['DegradationNet', 'TinyFilter'])
@pytest.mark.parametrize('mmd', [MMD, None], ids=['with mmd', 'without'])
def test_adversarial_variant_judges_generated_against_real(mmd, network):
    model = build(degradation_options(network, pixel_opt=PIXEL, mmd_opt=mmd, **ADVERSARIAL))
    seen = []
    model.net_d.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().clone()))
    before = parameters(model.net_g), parameters(model.net_d)
    (batch,) = unpaired(1)
    (log,) = run(model, [batch])
    assert ('l_g_mmd' in log) == bool(mmd)
    assert {'l_g_pix', 'l_g_gan', 'l_d_real', 'l_d_fake', 'highpass_sr_std'} < log.keys()
    assert all(np.isfinite(value) for value in log.values())
    high = HighPass(kernel_size=5, sigma=0.83)
    assert len(seen) == 2
    assert torch.equal(seen[0], high(batch['real_lq']))
    assert torch.equal(seen[1], high(model.output))
    assert not same(before[0], parameters(model.net_g))
    assert not same(before[1], parameters(model.net_d))


@pytest.mark.parametrize('adversarial', [False, True], ids=['alone', 'gan'])
def test_first_phase_learns_to_be_bicubic(adversarial):
    first = {'pretrain_iters': 1, 'pretrain_opt': PIXEL}
    model = build(degradation_options(adversarial=adversarial, mmd_opt=MMD, **first))
    logs = run(model, unpaired(2))
    assert logs[0].keys() == {'l_g_pretrain'}
    assert 'l_g_mmd' in logs[1]
    assert ('l_g_gan' in logs[1]) == adversarial


@pytest.mark.parametrize('adversarial', [False, True], ids=['alone', 'gan'])
def test_accumulated_chunks_equal_the_whole_batch(adversarial):
    """Of losses that are means over images; MMD compares sets, and is the mean of the chunks' own."""
    gradients, logs = [], []
    for accumulate in (1, 2):
        model = build(
            degradation_options(
                adversarial=adversarial, pixel_opt=PIXEL, accumulate=accumulate, optim_g=STILL, log_gradient_norms=1
            )
        )
        if adversarial:
            model.net_d.eval()  # spectral norm's power iteration advances with each chunk
        logs += run(model, unpaired(1, size=4))
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.net_g.parameters()]))
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)

    model = build(degradation_options(mmd_opt=MMD, accumulate=2, optim_g=STILL))
    (batch,) = unpaired(1, size=4)
    (log,) = run(model, [batch])
    chunks = zip(model.output.chunk(2), batch['real_lq'].chunk(2), strict=True)
    assert log['l_g_mmd'] == pytest.approx(np.mean([build_loss(MMD)(*chunk).item() for chunk in chunks]), rel=1e-4)


@pytest.mark.parametrize('settings', [{'amp': 'bf16'}, {'channels_last': True}], ids=str)
def test_precision_memory_format_and_averaging(settings):
    reference, model = (
        build(degradation_options(**ALL, **ADVERSARIAL, ema_decay=0.5, **more)) for more in ({}, settings)
    )
    before = parameters(model.net_g_ema)
    expected, log = run(reference, unpaired(2))[-1], run(model, unpaired(2))[-1]
    for name in ('l_g_pix', 'l_g_percep', 'l_g_mmd'):
        assert log[name] == pytest.approx(expected[name], rel=0.05), name
    assert not same(before, parameters(model.net_g_ema))


# ---------------------------------------------------------------------- gradient norms
@pytest.mark.parametrize('amp', [None, 'bf16'])
def test_gradient_norms_are_logged_and_change_nothing(amp):
    plain, watched = (
        build(degradation_options(**ALL, **ADVERSARIAL, amp=amp, **extra)) for extra in ({}, {'log_gradient_norms': 2})
    )
    expected, logs = run(plain, unpaired(3)), run(watched, unpaired(3))
    assert same(parameters(plain.net_g), parameters(watched.net_g))
    norms = {'grad_pix', 'grad_percep', 'grad_mmd', 'grad_gan'}
    assert [log.keys() - other.keys() for log, other in zip(logs, expected, strict=True)] == [set(), norms, norms]
    assert all(logs[1][name] > 0 for name in norms)
    assert all(logs[2][name] == logs[1][name] for name in norms)  # the last ones measured


# ---------------------------------------------------------------------- processes
def train(adversarial: bool, world_size: int = 1, rank: int = 0) -> dict:
    """Two iterations on a global batch of 4."""
    plain = {'type': 'SGD', 'lr': 0.01}
    mmd = MMD | {'sync': True, 'loss_weight': 1.0}
    opt = degradation_options(
        adversarial=adversarial, pixel_opt=PIXEL, mmd_opt=mmd, ema_decay=0.5, optim_g=plain, log_gradient_norms=2
    )
    if adversarial:
        opt['train']['optim_d'] = plain
    opt.update(dist=world_size > 1, world_size=world_size, rank=rank)
    model = build(opt)
    logs = run(model, share_of(unpaired(2, size=4), world_size, rank))
    return {'logs': logs, 'net_g': model.get_bare_model(model.net_g).state_dict(), 'ema': model.net_g_ema.state_dict()}


def train_both(rank: int) -> list[dict]:
    return [train(adversarial, 2, rank) for adversarial in (False, True)]


def test_two_processes_with_synchronised_mmd_equal_one():
    for got, adversarial in zip(on_processes(train_both)[0], (False, True), strict=True):
        expected = train(adversarial)
        for log, reference in zip(got['logs'], expected['logs'], strict=True):
            losses = {name: value for name, value in reference.items() if not name.startswith('grad')}
            assert {name: log[name] for name in losses} == pytest.approx(losses, rel=1e-3), adversarial
        for network in ('net_g', 'ema'):
            for name, value in expected[network].items():
                torch.testing.assert_close(got[network][name], value, rtol=1e-4, atol=5e-6)


# ---------------------------------------------------------------------- options
def checked(opt: dict) -> str:
    """Of options without data and log."""
    found = check.find_problems(opt, is_train=True)
    return '\n'.join(str(problem) for problem in found if not problem.path.startswith(('datasets', 'logger', 'val')))


def test_an_adversary_is_optional_but_whole():
    assert checked(degradation_options(**ALL)) == ''
    assert checked(degradation_options(**ALL, **ADVERSARIAL)) == ''
    for path in ('network_d', 'train:gan_opt', 'train:optim_d'):
        opt = degradation_options(**ALL, adversarial=True)
        place = opt if path == 'network_d' else opt['train']
        place[path.split(':')[-1]] = None
        assert f'{path} is missing' in checked(opt)
        assert 'to ~' in checked(opt)
        with pytest.raises(ValueError, match=f'{path} is missing'):
            build(opt)


@pytest.mark.parametrize(
    ('train', 'said'),
    [
        ({}, 'none of pixel_opt, perceptual_opt, mmd_opt, gan_opt, losses is given'),
        ({'pixel_opt': PIXEL, 'mask_opt': {'type': 'ErrorMask'}}, 'train:mask_opt: a mask of errors needs pairs'),
        ({'pixel_opt': PIXEL, 'optim_g': None}, 'train:optim_g is missing: DegradationModel needs it'),
        ({'mmd_opt': {'type': 'MMDLoss', 'spaec': 'patch'}}, "MMDLoss has no such argument. Did you mean 'space'"),
        ({'mmd_opt': {'type': 'MMDLoss', 'space': 'pixels'}}, "space: 'pixels' is not supported"),
    ],
)
def test_unusable_options_are_explained(train, said):
    assert said in checked(degradation_options(**train))


def test_real_images_metric_names_and_inputs_are_checked(monkeypatch):
    opt = degradation_options(pixel_opt=PIXEL)
    opt['datasets'] = {'train': {'dataroot_real_lq': 'real'}, 'val': {'type': 'PairedImageDataset'}}
    opt['val'] = {'metrics': {'mmd': {'type': 'calculate_niqe', 'crop_border': 0}, 'other': {}}}
    assert [line.split(': ')[0] for line in problems(opt).splitlines()] == [
        'datasets:val:dataroot_real_lq is missing',
        'val:metrics:mmd',
    ]
    monkeypatch.setattr(ARCH_REGISTRY.get('TinyFilter'), 'INPUT', 'hr')
    assert "INPUT must be one of gt, lq, but is 'hr'" in problems(degradation_options('TinyFilter', pixel_opt=PIXEL))
