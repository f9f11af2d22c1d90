"""Validation of the degradation model without ground truth: its figures, images and best values."""

import math

import cv2
import numpy as np
import pytest
import torch
from degradation import PIXEL, Board, HeldOut, TinyFilter, degradation_options, unpaired
from recipes import build, run

from ext_arch.resize import bicubic_downscale
from ext_metrics.domain_gap import gap
from ext_models.degradation_model import DegradationModel, in_8_bits, in_floats

FIGURES = set(DegradationModel.VALIDATION_FIGURES)


@pytest.fixture
def model(tmp_path):
    """Generates bicubic LR, 0.1 darker in the red channel."""
    opt = degradation_options('TinyFilter', pixel_opt=PIXEL)
    opt['path']['visualization'] = str(tmp_path)
    model = build(opt)
    model.net_g.conv.bias = torch.nn.Parameter(torch.tensor([-0.1, 0.0, 0.0]))
    return model


def expected(loader: HeldOut) -> tuple[list, list, list]:
    """Generated, bicubic and real images, 8-bit, in float."""
    sets: tuple[list, list, list] = ([], [], [])
    for sample in loader:
        bicubic = bicubic_downscale(sample['gt'], 2)[0]
        images = (bicubic - torch.tensor([0.1, 0, 0]).view(3, 1, 1), bicubic, sample['real_lq'][0])
        for collected, image in zip(sets, images, strict=True):
            collected.append((image.clamp(0, 1) * 255).round() / 255)
    return sets


def psnr(x: torch.Tensor, y: torch.Tensor) -> float:
    return -10 * math.log10((x.double() - y.double()).square().mean().item())


def test_figures_are_those_of_the_whole_set(model, caplog):
    loader, board = HeldOut(), Board()
    with caplog.at_level('INFO', logger='basicsr'):
        model.nondist_validation(loader, 5, board, save_img=False)
    generated, bicubic, real = expected(loader)
    distances = gap(generated, real)
    colours = [255 * torch.stack([image.mean((1, 2)) for image in images]).mean(0) for images in (generated, bicubic)]
    drift = (colours[0] - colours[1]).square().mean().sqrt().item()
    assert model.metric_results.keys() == FIGURES
    for name in ('mmd', 'spectrum_db', 'colour'):
        assert model.metric_results[name] == pytest.approx(distances[name], rel=1e-3)
    assert model.metric_results['colour_drift'] == pytest.approx(drift, rel=1e-3)
    mean_psnr = np.mean([psnr(x, y) for x, y in zip(generated, bicubic, strict=True)])
    assert model.metric_results['psnr_bicubic'] == pytest.approx(mean_psnr, rel=1e-3)

    for name, value in model.metric_results.items():
        assert board.scalars[f'metrics/held_out/{name}'] == value
        assert f'# {name}: {value:.4f}' in caplog.text
    of_bicubic = gap(bicubic, real)
    assert board.scalars['gap/held_out/bicubic_mmd'] == pytest.approx(of_bicubic['mmd'])
    assert f'spectrum_db: {of_bicubic["spectrum_db"]:.4f}' in caplog.text
    assert not any(hasattr(model, name) for name in ('hr', 'lq', 'gt', 'real_lq', 'output'))


def test_best_values_know_which_way_is_better(model):
    def validate(iteration: int, bias: float) -> dict:
        model.net_g.conv.bias.data[0] = bias
        model.nondist_validation(HeldOut(), iteration, None, save_img=False)
        return dict(model.metric_results)

    first, second = validate(1, -0.1), validate(2, 0.0)
    third = validate(3, -0.2)
    best = model.best_metric_results['held_out']
    assert best.keys() == FIGURES
    assert second['psnr_bicubic'] > first['psnr_bicubic'] > third['psnr_bicubic']
    assert best['psnr_bicubic'] == {'better': 'higher', 'val': second['psnr_bicubic'], 'iter': 2}
    assert best['colour_drift'] == {'better': 'lower', 'val': 0.0, 'iter': 2}
    colours = {first['colour']: 1, second['colour']: 2, third['colour']: 3}
    assert best['colour'] == {'better': 'lower', 'val': min(colours), 'iter': colours[min(colours)]}


def test_metrics_of_the_options_compare_with_bicubic_images(model):
    model.opt['val']['metrics'] = {'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'better': 'higher'}}
    model.nondist_validation(HeldOut(), 1, None, save_img=False)
    assert model.metric_results['psnr'] == model.metric_results['psnr_bicubic']
    assert model.best_metric_results['held_out'].keys() == FIGURES | {'psnr'}


def test_noise_is_part_of_what_is_compared_with_real_images_alone(model, tmp_path):
    model.nondist_validation(HeldOut(), 1, None, save_img=False)
    clean = dict(model.metric_results)
    model.opt['train']['noise'] = 60.0
    state = torch.get_rng_state()
    found = []
    for iteration in (2, 3):
        model.nondist_validation(HeldOut(), iteration, None, save_img=True)
        found.append(dict(model.metric_results))
    assert found[0] == found[1]
    assert found[0]['psnr_bicubic'] == clean['psnr_bicubic']
    assert abs(found[0]['spectrum_db'] - clean['spectrum_db']) > 0.5
    assert torch.equal(torch.get_rng_state(), state)
    saved = cv2.cvtColor(cv2.imread(str(tmp_path / 'hr0' / 'hr0_3.png')), cv2.COLOR_BGR2RGB)
    assert np.array_equal(saved, (expected(HeldOut())[0][0] * 255).round().byte().permute(1, 2, 0).numpy())


@pytest.mark.parametrize('is_train', [True, False])
def test_generated_images_are_saved(model, tmp_path, is_train):
    loader = HeldOut()
    model.opt['is_train'] = is_train
    if not is_train:
        del model.opt['train']  # which option files of tests need not have
    model.nondist_validation(loader, 7, None, save_img=True)
    names = ['hr0/hr0_7.png', 'hr1/hr1_7.png', 'hr2/hr2_7.png']
    if not is_train:
        names = [f'held_out/hr{number}_test.png' for number in range(3)]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.png')) == names
    for name, image in zip(names, expected(loader)[0], strict=True):
        saved = cv2.cvtColor(cv2.imread(str(tmp_path / name)), cv2.COLOR_BGR2RGB)
        assert np.array_equal(saved, (image * 255).round().byte().permute(1, 2, 0).numpy())


def test_averaged_weights_validate_and_panels_of_the_training_batch_come_with_it():
    model = build(degradation_options('TinyFilter', pixel_opt=PIXEL, ema_decay=0.9))
    run(model, unpaired(1, size=5))
    model.net_g_ema.load_state_dict(TinyFilter().state_dict())  # the identity
    model.net_g.conv.weight.data.zero_()
    board = Board()
    model.validation(HeldOut(), 1, board)
    assert board.scalars['metrics/held_out/colour_drift'] == 0
    assert set(board.images) == {f'train/{name}' for name in ('hr', 'bicubic', 'generated', 'real')}
    assert all(len(images) == 4 for images in board.images.values())


def test_images_are_compared_as_they_are_saved():
    image = torch.tensor([-0.5, 0.0, 0.3, 1.7])
    assert torch.equal(in_floats(in_8_bits(image.requires_grad_())), torch.tensor([0, 0, 76 / 255, 1]))
