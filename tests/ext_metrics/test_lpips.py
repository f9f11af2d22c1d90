"""calculate_lpips against the definition, published-protocol values and its conventions."""

import sys

import cv2
import lpips
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.matlab_functions import imresize

from ext_arch import pretrained
from ext_arch.vgg_features_arch import VGGFeatures
from ext_losses import lpips_loss
from ext_metrics import lpips_metric
from ext_metrics.lpips_metric import calculate_lpips

pytestmark = pytest.mark.wide_vgg


@pytest.fixture(autouse=True)
def fresh_cache():
    yield
    lpips_metric._lpips.cache_clear()


@pytest.fixture
def image_pair() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 256, (2, 48, 40, 3), dtype=np.uint8)
    return first, second


@pytest.fixture
def set5(shared_data):
    """Yields (HR, bicubically enlarged LR) of Set5 at a scale, as uint8 BGR."""
    if pretrained.find_weights('alexnet') is None:
        pytest.skip('needs python scripts/get_weights.py alexnet')

    def read(scale):
        folder = shared_data / 'bench' / 'Set5' / f'X{scale}'
        for path in sorted((folder / 'HR').iterdir()):
            lr = cv2.imread(str(folder / 'LR' / path.name)).astype(np.float32) / 255
            sr = (imresize(lr, scale).clip(0, 1) * 255).round().astype(np.uint8)
            yield cv2.imread(str(path)), sr

    return read


def test_equals_the_definition(image_pair, tmp_path):
    # sum over layers of the spatial mean of sum_c w_c (phi_c(x)/|phi(x)| - phi_c(y)/|phi(y)|)^2 [Zhang 2018, eq. 1]
    torch.manual_seed(0)
    weights = str(tmp_path / 'vgg.pth')
    torch.save(pretrained.load_feature_weights('vgg16', 'random'), weights)
    layers = ['relu1_2', 'relu2_2', 'relu3_3', 'relu4_3', 'relu5_3']
    net = VGGFeatures(layers, 'vgg16', weights, use_input_norm=False)
    linear = torch.load(f'{lpips.__path__[0]}/weights/v0.1/vgg.pth', map_location='cpu', weights_only=True)
    features = []
    for image in image_pair:
        rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255 * 2 - 1
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        features.append(net((rgb - shift.view(3, 1, 1)) / scale.view(3, 1, 1)))
    expected = 0.0
    for number, layer in enumerate(layers):
        first, second = (feature[layer] / feature[layer].norm(dim=1, keepdim=True) for feature in features)
        expected += ((first - second) ** 2 * linear[f'lin{number}.model.1.weight']).sum(1).mean().item()
    assert calculate_lpips(*image_pair, crop_border=0, net='vgg', weights=weights) == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01
    with pytest.raises(ValueError, match='needs 16 px'):
        calculate_lpips(*(image[:15] for image in image_pair), crop_border=0, net='vgg', weights=weights)


@pytest.mark.data
def test_bicubic_on_set5(set5):
    values = [
        calculate_metric({'img': sr, 'img2': hr}, {'type': 'calculate_lpips', 'crop_border': 0}) for hr, sr in set5(4)
    ]
    assert np.mean(values) == pytest.approx(0.3406, abs=5e-5)


def test_conventions(image_pair):
    first, second = image_pair
    torch.manual_seed(0)
    value = calculate_lpips(first, second, 0, weights='random')
    assert value > 0
    assert calculate_lpips(first, first, 0, weights='random') == 0
    chw = (image.transpose(2, 0, 1) for image in image_pair)
    assert calculate_lpips(*chw, 0, input_order='CHW', weights='random') == value
    inner = (image[4:-4, 4:-4] for image in image_pair)
    assert calculate_lpips(first, second, 4, weights='random') == calculate_lpips(*inner, 0, weights='random')
    grey, grey3 = first[..., 0], np.repeat(first[..., :1], 3, axis=2)
    other, other3 = second[..., 0], np.repeat(second[..., :1], 3, axis=2)
    expected = calculate_lpips(grey3, other3, 0, weights='random')
    assert calculate_lpips(grey, other, 0, weights='random') == expected
    assert calculate_lpips(grey[..., None], other[..., None], 0, weights='random') == expected


def test_network_is_built_once_and_leaves_the_random_state_alone(image_pair, monkeypatch, tmp_path):
    weights = str(tmp_path / 'alex.pth')
    torch.save(pretrained.load_feature_weights('alexnet', 'random'), weights)
    before = torch.get_rng_state()
    value = calculate_lpips(*image_pair, 0, weights=weights)
    assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.setattr(lpips_loss, 'load_feature_weights', lambda *_: pytest.fail('loaded twice'))
    assert calculate_lpips(*image_pair, 0, weights=weights) == value


def test_smallest_image():
    image = np.zeros((39, 39, 3), np.uint8)
    assert calculate_lpips(image, image, 4, weights='random') == 0
    with pytest.raises(ValueError, match='needs 31 px'):
        calculate_lpips(image[1:], image[1:], 4, weights='random')


def test_errors(image_pair, monkeypatch, tmp_path):
    first, second = image_pair
    with pytest.raises(ValueError, match='differ in shape'):
        calculate_lpips(first, second[1:], 0)
    with pytest.raises(FileNotFoundError, match=r'absent\.pth does not exist'):
        calculate_lpips(first, second, 0, weights=str(tmp_path / 'absent.pth'))
    monkeypatch.setitem(sys.modules, 'lpips', None)
    with pytest.raises(OSError, match='pip install lpips'):
        calculate_lpips(first, second, 0, weights='random')
