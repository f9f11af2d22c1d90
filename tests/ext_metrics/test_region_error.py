"""The error in flat and in textured regions, against images whose errors are known."""

import numpy as np
import pytest
from basicsr.metrics import calculate_metric

from ext_core.options.metrics import leave_out_metrics


def error(img: np.ndarray, img2: np.ndarray, **options: object) -> float:
    return calculate_metric({'img': img, 'img2': img2}, {'type': 'calculate_region_error', 'crop_border': 0, **options})


@pytest.fixture
def halves():
    """Left flat, right a chequerboard, 60 x 60; and the same with an error of 4 on the left and of 9 on the right."""
    gt = np.full((60, 60), 100.0)
    gt[:, 30:] += 40 * ((np.indices((60, 30)).sum(0) % 2) * 2 - 1)
    sr = gt + np.where(np.arange(60) < 30, 4.0, 9.0)
    return sr.astype(np.uint8), gt.astype(np.uint8)


def test_each_region_has_its_own_error(halves):
    assert error(*halves) == pytest.approx(4)
    assert error(*halves, region='textured') == pytest.approx(9)
    assert error(halves[1], halves[1]) == 0


def test_of_colours_it_is_that_of_the_luminance(halves):
    grey, gt = (np.repeat(image[..., None], 3, 2) for image in halves)
    assert error(grey, gt, region='textured') == pytest.approx(9 * 219 / 255, abs=0.6)  # Y is rounded, 16 to 235
    turned = [image.transpose(2, 0, 1) for image in (grey, gt)]
    assert error(*turned, input_order='CHW') == error(grey, gt)


def test_the_border_is_cut_off_and_regions_are_thirds_of_what_is_left():
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 256, (30, 40)).astype(np.uint8)
    sr = gt.copy()
    sr[:4] = 255 - sr[:4]
    assert error(sr, gt, crop_border=4) == 0
    assert error(sr, gt) > 0
    noise = np.full((30, 40), 128.0)
    noise[:, :13] += rng.normal(0, 20, (30, 13))  # a little less than a third has texture
    noise = noise.clip(0, 255).astype(np.uint8)
    assert error(noise + (np.arange(40) < 13).astype(np.uint8), noise, region='textured') == pytest.approx(1, abs=0.15)


def test_users_of_metrics_know_that_lower_is_better():
    opt = {'val': {'metrics': {'flat': {'type': 'calculate_region_error', 'crop_border': 0}}}}
    assert leave_out_metrics(opt) == []
    assert opt['val']['metrics']['flat']['better'] == 'lower'


def test_mistakes_are_explained(halves):
    with pytest.raises(ValueError, match="region: 'edges' is not supported; there are flat, textured"):
        error(*halves, region='edges')
    with pytest.raises(ValueError, match='differ in shape'):
        error(halves[0], halves[1][1:])
