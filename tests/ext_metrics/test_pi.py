"""calculate_pi and calculate_ma: the formula, what both scores see, Ma's model, and what is said without it."""

import sys
from types import ModuleType

import numpy as np
import pytest
import scipy.io
import torch
from basicsr.metrics import calculate_metric, calculate_niqe

from ext_arch import pretrained
from ext_metrics import pi_metric
from ext_metrics.pi_metric import MINIMUM_SIZE, MODEL_FILE, calculate_ma, calculate_pi

MODEL = pretrained.FOLDER / MODEL_FILE


@pytest.fixture(autouse=True)
def fresh_cache():
    pi_metric._nrqm.cache_clear()
    yield
    pi_metric._nrqm.cache_clear()


@pytest.fixture
def image() -> np.ndarray:
    """BGR with texture, large enough for two of NIQE's blocks inside a border of 4."""
    return np.random.default_rng(0).integers(0, 256, (110, 210, 3), dtype=np.uint8)


class FakeNRQM:
    """pyiqa's NRQM as far as we use it. Its score is the mean of the image, in hundreds."""

    def __init__(self, pretrained_model_path: str):
        self.path = pretrained_model_path
        self.rf_params_list = [[np.zeros((1, 1), np.uint8)] * 5] * 3
        self.seen: list[torch.Tensor] = []

    def eval(self):
        return self

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        return x.mean() / 100


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Empty folders in all places where the model is looked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrained, 'PROJECT_ROOT', tmp_path / 'project')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    return tmp_path


@pytest.fixture
def pyiqa(monkeypatch):
    """A package of that name with the fake in it."""
    fake = ModuleType('pyiqa.archs.nrqm_arch')
    fake.NRQM = FakeNRQM  # type: ignore[attr-defined]
    for name in ('pyiqa', 'pyiqa.archs'):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return fake


@pytest.fixture
def fake(nowhere, pyiqa) -> FakeNRQM:
    """The fake behind the metric, with a file as its model."""
    MODEL.parent.mkdir(parents=True)
    MODEL.write_bytes(b'')
    return pi_metric._nrqm(None)  # type: ignore[return-value]


def luma_of(image: np.ndarray, border: int) -> np.ndarray:
    """MATLAB's rgb2ycbcr of uint8 [ITU-R BT.601], shaved."""
    inner = image[border:-border, border:-border].astype(np.float64)
    return np.round(inner @ np.array([24.966, 128.553, 65.481]) / 255 + 16)


# ---------------------------------------------------------------------- values
def test_formula(fake, image):
    """PI = ((10 - Ma) + NIQE) / 2, both of the rounded luma without its border."""
    ma, inner = luma_of(image, 4).mean() / 100, luma_of(image, 4)
    assert calculate_ma(image, 4) == pytest.approx(ma, rel=1e-12)
    assert torch.equal(fake.seen[0][0, 0], torch.from_numpy(inner))
    niqe = calculate_niqe(inner, 0, input_order='HW')
    assert np.isfinite(niqe)
    assert calculate_pi(image, 4) == pytest.approx((10 - ma + niqe) / 2, rel=1e-12)
    options = {'type': 'calculate_pi', 'crop_border': 4, 'better': 'lower'}
    assert calculate_metric({'img': image, 'img2': image}, options) == calculate_pi(image, 4)


def test_conventions(fake, image):
    value = calculate_pi(image, 4)
    assert calculate_pi(image.transpose(2, 0, 1), 4, input_order='CHW') == value
    assert calculate_pi(image[4:-4, 4:-4], 0) == value
    assert calculate_pi(luma_of(image, 4), 0, input_order='HW') == value
    grey = calculate_pi(image, 4, convert_to='gray')
    ma, niqe = (metric(image, 4, convert_to='gray') for metric in (calculate_ma, calculate_niqe))
    assert grey == pytest.approx((10 - ma + niqe) / 2, rel=1e-12)
    assert grey != value
    plane = image[..., :1]
    assert calculate_ma(plane, 4) == calculate_ma(plane, 4, convert_to='gray') == plane[4:-4, 4:-4].mean() / 100
    with pytest.raises(ValueError, match="must be 'y' or 'gray', but is 'rgb'"):
        calculate_pi(image, 4, convert_to='rgb')


def test_undefined_scores_are_nan_as_those_of_niqe(fake, image, monkeypatch):
    small = image[: MINIMUM_SIZE + 8, :200]
    assert np.isfinite(calculate_ma(small, 4))
    assert np.isnan(calculate_ma(small[1:], 4))
    assert np.isnan(calculate_pi(small, 4))

    def refuse(x):
        raise torch.linalg.LinAlgError('singular')

    monkeypatch.setattr(FakeNRQM, '__call__', lambda self, x: refuse(x))
    assert np.isnan(calculate_ma(image, 4))


# ---------------------------------------------------------------------- the model
def test_is_read_once_and_its_integers_can_be_negative(fake, image, monkeypatch):
    types = [array.dtype for array in fake.rf_params_list[2]]
    assert types == [np.int64, np.int64, np.float64, np.float64, np.int64]
    monkeypatch.setattr(FakeNRQM, '__init__', lambda *_, **__: pytest.fail('read twice'))
    calculate_pi(image, 4)
    calculate_pi(image, 4)


def test_where_it_is_looked_for(nowhere, pyiqa):
    places = [
        nowhere / 'hub' / 'pyiqa' / MODEL_FILE,
        nowhere / 'hub' / 'checkpoints' / MODEL_FILE,
        nowhere / 'project' / MODEL,
        nowhere / MODEL,
        nowhere / 'named.mat',
    ]
    for number, place in enumerate(places):  # each is preferred to those before it
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b'')
        pi_metric._nrqm.cache_clear()
        path = str(place) if number == 4 else None
        assert pi_metric._nrqm(path).path == str(place)  # type: ignore[attr-defined]


def test_what_is_missing_is_said_with_its_remedy(nowhere, pyiqa, image, monkeypatch):
    with pytest.raises(FileNotFoundError, match=rf'(?s){MODEL_FILE} is not in .*curl -L .*{MODEL_FILE}'):
        calculate_pi(image, 4)
    with pytest.raises(FileNotFoundError, match=r'(?s)gone\.mat \(ma_model\) does not exist.*curl'):
        calculate_pi.check_ready(ma_model='gone.mat', crop_border=4)
    (nowhere / 'bad.mat').write_bytes(b'')
    monkeypatch.setattr(FakeNRQM, '__init__', lambda *_, **__: 1 / 0)
    with pytest.raises(ValueError, match=r"bad\.mat is not Ma's model \(ZeroDivisionError"):
        calculate_ma.check_ready(ma_model='bad.mat')
    monkeypatch.setitem(sys.modules, 'pyiqa', None)
    monkeypatch.delitem(sys.modules, 'pyiqa.archs.nrqm_arch')
    with pytest.raises(OSError, match=r'(?s)needs the package pyiqa: .*pip install --no-deps pyiqa=='):
        calculate_ma(image, 4)


def write_forest(path, integer: type) -> float:
    """A model with pyiqa's layout, two trees of three nodes in each forest: one goes left, one right.

    Returns:
        float: The score that it gives to any image.
    """
    forests = np.empty((1, 3), object)
    for number in range(3):
        left, right, feature = (np.zeros((3, 2), integer) for _ in range(3))
        left[0], right[0], feature[0] = 2, 3, 1 + number
        threshold, prediction = np.zeros((2, 3, 2))
        threshold[0] = 1e9, -1e9
        prediction[1], prediction[2] = 2 + number, 6 + number
        forests[0, number] = {'left': left, 'right': right, 'status': left, 'nodes': left, 'threshold': threshold,
                              'prediction': prediction, 'feature': feature}  # fmt: skip
    weights = np.array([[0.5], [0.25], [0.125], [0.375]])
    scipy.io.savemat(path, {'model': {'linear': weights, 'rf': forests}})
    return float(weights[0, 0] + sum(weights[1 + i, 0] * (4 + i) for i in range(3)))


@pytest.mark.parametrize('integer', [np.uint8, np.int32, np.float64])
def test_pyiqa_itself_runs_with_a_model_file(nowhere, image, integer):
    pytest.importorskip('pyiqa.archs.nrqm_arch', reason='needs pip install --no-deps pyiqa')
    score = write_forest('tiny.mat', integer)
    small = image[: MINIMUM_SIZE + 8, : MINIMUM_SIZE + 8]
    assert calculate_ma(small, 4, ma_model='tiny.mat') == pytest.approx(score, rel=1e-12)
    assert np.isnan(calculate_ma(np.full((64, 64, 3), 7, np.uint8), 0, ma_model='tiny.mat'))
    with pytest.raises(ValueError, match="is not Ma's model"):
        calculate_ma(small, 4, ma_model=__file__)
