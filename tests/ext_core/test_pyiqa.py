"""pyiqa's metrics by name, as losses and as metrics: the road with a stand-in, and the real ones where installed."""

import builtins
import importlib.util
import socket

import cv2
import numpy as np
import pyiqa_stand_in
import pytest
import torch
from basicsr.losses import build_loss
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY
from check_recipes import data, find_problems, psnr, put  # noqa: F401  # data is a fixture
from recipes import batches, build, options, run

from ext_core.errors import UserError
from ext_core.options import check
from ext_core.options.metrics import leave_out_metrics
from ext_core.use.benchmark import metrics_of
from ext_core.use.tables import lower_is_better
from ext_losses import pyiqa_networks

real = pytest.mark.skipif(importlib.util.find_spec('pyiqa') is None, reason='needs pyiqa')


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    pyiqa_stand_in.install(tmp_path, monkeypatch)
    yield
    pyiqa_stand_in.forget()


def pair(size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sr, gt = torch.rand(2, 2, 3, size, size, generator=generator)
    return sr.requires_grad_(), gt


# ---------------------------------------------------------------------- losses
def test_lower_is_better(stand_in):
    sr, gt = pair()
    loss = build_loss({'type': 'pyiqa.near', 'loss_weight': 0.5, 'options': {'power': 1}})
    value = loss(sr, gt)
    assert value.item() == pytest.approx(0.5 * (sr - gt).abs().mean().item())
    value.backward()
    torch.testing.assert_close(sr.grad, 0.5 * (sr - gt).sign() / sr.numel())
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_higher_is_better(stand_in):
    """Down towards the best value, which is 1 here."""
    sr, gt = pair()
    value = build_loss({'type': 'pyiqa.alike'})(sr, gt)
    assert value.item() == pytest.approx((sr - gt).square().mean().item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(value, sr)
    torch.testing.assert_close(gradient, 2 * (sr - gt) / sr.numel())


def test_weights_from_a_path(stand_in, tmp_path):
    torch.save(3.0, tmp_path / 'three.pth')
    sr, gt = pair()
    value = build_loss({'type': 'pyiqa.near', 'weights': str(tmp_path / 'three.pth')})(sr, gt)
    assert value.item() == pytest.approx(3 * (sr - gt).square().mean().item())
    with pytest.raises(OSError, match=r'weights: nowhere\.pth does not exist'):
        build_loss({'type': 'pyiqa.near', 'weights': 'nowhere.pth'})


def test_without_a_gradient_it_is_refused_as_a_loss(stand_in):
    with pytest.raises(ValueError, match=r'pyiqa\.bright has no gradient.*Use it as a metric'):
        build_loss({'type': 'pyiqa.bright'})(*pair())


def test_building_draws_nothing_from_the_generators_of_a_training(stand_in):
    torch.manual_seed(1)
    build_loss({'type': 'pyiqa.near'})
    drawn = torch.rand(2)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(2))


def test_offline_the_file_and_its_place_are_named(stand_in):
    with pytest.raises(OSError, match=r'pyiqa\.near: https://host/Near-1\.pth cannot be downloaded: no network\. .* '
                                      r'put it there as /cache/Near-1\.pth'):  # fmt: skip
        build_loss({'type': 'pyiqa.near', 'options': {'offline': True}})


def test_a_term_of_a_training(stand_in):
    losses = {'near': {'type': 'pyiqa.near', 'loss_weight': 0.2}, 'l1': {'type': 'L1Loss'}}
    model = build(options('ExtSRModel', discriminator=None, losses=losses))
    (batch,) = batches(1, gt_size=32)
    with torch.no_grad():
        expected = 0.2 * (model.net_g(batch['lq']) - batch['gt']).square().mean().item()
    (log,) = run(model, [batch])
    assert log['l_near'] == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------------- metrics
def images() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (2, 20, 16, 3), dtype=np.uint8))


def test_metrics(stand_in):
    img, img2 = images()
    error = (img[2:-2, 2:-2] / 255 - img2[2:-2, 2:-2] / 255) ** 2
    given = {'img': img, 'img2': img2}
    found = calculate_metric(given, {'type': 'pyiqa.near', 'crop_border': 2, 'better': 'lower'})
    assert found == pytest.approx(error.mean(), rel=1e-5)
    assert calculate_metric(given, {'type': 'pyiqa.bright'}) == pytest.approx(100 * (img / 255).mean(), rel=1e-5)
    assert 'pyiqa.fid' not in METRIC_REGISTRY  # of folders


def test_what_is_better_is_what_pyiqa_says(stand_in):
    names = ('near', 'alike', 'bright')
    opt = {'val': {'metrics': {name: {'type': f'pyiqa.{name}'} for name in names}}}
    assert leave_out_metrics(opt) == []
    assert [opt['val']['metrics'][name]['better'] for name in names] == ['lower', 'higher', 'higher']
    assert [lower_is_better({'type': f'pyiqa.{name}'}) for name in names] == [True, False, False]  # for reports
    assert not lower_is_better({'type': 'pyiqa.near', 'better': 'higher'})
    metrics, left_out = metrics_of([f'pyiqa.{name}' for name in names], rgb=False)
    assert left_out == {}
    assert metrics['pyiqa.near'] == {'type': 'pyiqa.near', 'crop_border': 0}


def test_the_check_knows_them(stand_in, data):  # noqa: F811
    metrics = {'near': {'type': 'pyiqa.near'}, 'bright': {'type': 'pyiqa.bright', 'crop_border': 4}}
    opt = put('val:metrics', metrics) | {'model_type': 'ExtSRModel'}
    opt['train']['losses'] = {'near': {'type': 'pyiqa.near', 'loss_weight': 0.1}}
    assert find_problems(opt, is_train=True) == []
    check.check_options(opt, is_train=True)
    opt['train']['losses']['near'] = {'type': 'pyiqa.nera'}
    opt['val']['metrics']['bright'] = {'type': 'pyiqa.bright', 'window': 3}
    said = find_problems(opt, is_train=True)
    assert "train:losses:near:type: there is no loss 'pyiqa.nera'. Did you mean 'pyiqa.near'?" in said
    assert any(problem.startswith('val:metrics:bright:window: pyiqa.bright has no such argument') for problem in said)


# ---------------------------------------------------------------------- not installed
def test_where_it_is_missing_the_remedy_is_named(data, monkeypatch):  # noqa: F811
    monkeypatch.setattr(pyiqa_networks, 'configs', dict)
    for registry in (LOSS_REGISTRY, METRIC_REGISTRY):
        monkeypatch.setattr(registry, '_obj_map', {k: v for k, v in registry if not k.startswith('pyiqa.')})
    opt = psnr() | {'model_type': 'ExtSRModel'}
    opt['train']['losses'] = {'dists': {'type': 'pyiqa.dists'}}
    opt['val']['metrics'] = {'dists': {'type': 'pyiqa.dists'}}
    remedy = 'type: pyiqa.dists is a metric of the package pyiqa. Install it, or a newer version: pip install -U pyiqa'
    assert set(find_problems(opt, True)) == {f'train:losses:dists:{remedy}', f'val:metrics:dists:{remedy}'}
    with pytest.raises(UserError, match='pip install -U pyiqa'):
        metrics_of(['pyiqa.dists'], rgb=False)
    importing = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == 'pyiqa':
            raise ImportError('No module named pyiqa')
        return importing(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', missing)
    with pytest.raises(OSError, match=r'pip install -U pyiqa \(No module named'):
        pyiqa_networks.build('dists', False, None, None)


# ---------------------------------------------------------------------- the real ones
@real
def test_psnr_of_pyiqa_is_basicsrs():
    img, img2 = images()
    found = calculate_metric({'img': img, 'img2': img2}, {'type': 'pyiqa.psnr', 'crop_border': 3})
    expected = calculate_metric({'img': img, 'img2': img2}, {'type': 'calculate_psnr', 'crop_border': 3})
    assert found == pytest.approx(expected, abs=0.01)
    assert METRIC_REGISTRY.get('pyiqa.lpips').better == 'lower'
    assert METRIC_REGISTRY.get('pyiqa.ms_ssim').better == 'higher'


@real
@pytest.mark.parametrize('name', ['ms_ssim', 'ssim', 'gmsd'])
def test_a_step_down_the_gradient_lowers_the_loss(name):
    smooth = cv2.GaussianBlur(np.random.default_rng(0).random((192, 192, 3), np.float32), (0, 0), 3)
    gt = torch.from_numpy(smooth).permute(2, 0, 1)[None]
    sr = (gt + 0.1 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1).requires_grad_()
    loss = build_loss({'type': f'pyiqa.{name}'})
    before = loss(sr, gt)
    assert 0 < before.item() < 1
    (gradient,) = torch.autograd.grad(before, sr)
    step = 0.2 * gradient / gradient.norm()
    assert loss((sr - step).detach(), gt) < before
    assert loss(gt, gt).item() == pytest.approx(0, abs=1e-4)


@real
def test_offline_the_real_ones_name_the_file(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise socket.gaierror('no network')

    monkeypatch.setattr(socket, 'getaddrinfo', offline)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(OSError, match=r'pyiqa\.dists: https://.*vgg16.*cannot be downloaded: .*no network.* put it '):
        build_loss({'type': 'pyiqa.dists'})
