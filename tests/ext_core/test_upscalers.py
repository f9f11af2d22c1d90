"""What a method of the command line may be, and what is refused before anything is measured."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import benchmark_images
import cv2
import numpy as np
import pytest
import torch
from benchmark_images import make_experiment, make_set
from inference_tools import repeating_onnx

from ext_core.errors import UserError
from ext_core.networks.export import metadata_of, save_safetensors, weights_of
from ext_core.networks.files import open_generator
from ext_core.networks.onnx_export import export
from ext_core.options import yaml_safe
from ext_core.use.evaluation import read
from ext_core.use.methods import (
    ImageFolder,
    Nearest,
    NetworkFile,
    OnnxFile,
    TestSet,
    hash_of,
    read_set,
    require_names,
    upscaler_of,
)

fresh_caches = benchmark_images.fresh_caches


@pytest.fixture
def sets(tmp_path) -> list[TestSet]:
    return [make_set(tmp_path, 2), make_set(tmp_path, 4, 'quarter')]


@pytest.fixture
def experiment(tmp_path) -> Path:
    return make_experiment(tmp_path / 'exp')


# ---------------------------------------------------------------------- networks
def test_experiment_checkpoint_and_option_file_are_the_same_network(sets, experiment, tmp_path):
    weights = experiment / 'models' / 'net_g_latest.pth'
    outside, alone = tmp_path / 'moved.pth', tmp_path / 'alone.safetensors'
    outside.write_bytes(weights.read_bytes())
    opened = open_generator(experiment)
    save_safetensors(weights_of(opened, half=False), metadata_of(opened), alone)
    options = tmp_path / 'test_it.yml'
    content = yaml_safe.read(experiment / 'exp.yml')
    options.write_text(yaml_safe.dump({**content, 'path': {'pretrain_network_g': str(outside)}}))
    texts = [str(experiment), str(weights), f'mine={outside}:{experiment / "exp.yml"}', str(options)]
    texts += [f'recognised={outside}', str(alone)]
    found = [upscaler_of(text, sets) for text in texts]
    assert [upscaler.name for upscaler in found] == [
        'exp', 'net_g_latest', 'mine', 'test_it', 'recognised', 'alone']  # fmt: skip
    assert len({upscaler.identity() for upscaler in found[:3]}) == 1
    place = sets[0].places[0]
    images = [upscaler.render(place) for upscaler in found]
    image = torch.from_numpy(read(place.low) / 255.0).permute(2, 0, 1)[None]
    bilinear = torch.nn.functional.interpolate(image, scale_factor=2, mode='bilinear')[0].permute(1, 2, 0).numpy()
    for made in images:
        assert np.abs(made - bilinear * 255).max() <= 0.51
    assert [found[0].takes(test_set) for test_set in sets] == [True, False]


def test_ema_weights_are_taken_where_there_are_some(sets, experiment):
    weights = experiment / 'models' / 'net_g_latest.pth'
    state = torch.load(weights, weights_only=True)['params']
    torch.save({'params': {name: value + 0.1 for name, value in state.items()}, 'params_ema': state}, weights)
    method = upscaler_of(str(experiment), sets)
    assert isinstance(method, NetworkFile)
    assert all(torch.equal(value.cpu(), state[name]) for name, value in method.opened().net.state_dict().items())


def test_identity_changes_with_the_weights(sets, experiment):
    before = upscaler_of(str(experiment), sets).identity()
    weights = experiment / 'models' / 'net_g_latest.pth'
    state = torch.load(weights, weights_only=True)['params']
    torch.save({'params': {name: value + 1 for name, value in state.items()}}, weights)
    hash_of.cache_clear()
    assert upscaler_of(str(experiment), sets).identity() != before


def edited(experiment: Path, **changes: object) -> str:
    """The experiment with other options."""
    path = experiment / 'exp.yml'
    path.write_text(yaml_safe.dump({**yaml_safe.read(path), **changes}))
    return str(experiment)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda e: str(e / 'nowhere.pth'), 'there is no .*nowhere.pth'),
        (lambda e: edited(e, scale=3), 'exp enlarges by 3, but the sets have the scales: tiny 2, quarter 4'),
        (lambda e: edited(e, scale=4), r'exp makes \(.*not scale \(4\) times'),
        (lambda e: edited(e, network_g={'type': 'MSRResNet', 'num_feats': 4}), r'network_g .* cannot be built'),
        (lambda e: edited(e, network_g={'type': 'Nonsense'}), r'network_g .*Nonsense'),
        (lambda e: edited(e, network_g={**benchmark_images.NETWORK, 'num_feat': 8}), 'weights for another network'),
        (lambda e: edited(e, network_g=None), 'does not describe a generator'),
        (lambda e: (e / 'models' / 'net_g_latest.pth').write_text('x') and str(e), 'net_g_latest.pth cannot be read'),
        (lambda e: (e / 'exp.yml').unlink() or str(e), 'not a finished experiment'),
        (lambda e: torch.save({'w': torch.zeros(1)}, e / 'net.pth') or str(e / 'net.pth'), 'not recognised'),
        (lambda e: str(e / 'exp.yml'), 'names no weights'),
        (lambda e: str((e / 'models' / 'net_g_latest.pth').rename(e / 'net.bin')), 'of no kind that can be measured'),
    ],
)
def test_what_cannot_be_measured_is_refused(sets, experiment, spoil, message):
    with pytest.raises(UserError, match=message):
        upscaler_of(spoil(experiment), sets)


# ---------------------------------------------------------------------- ONNX
class FakeSession:
    """Repeats pixels twice, as a session of onnxruntime would."""

    shape: list = ['n', 3, 'height', 'width']

    def __init__(self, path, settings, providers):
        if Path(path).read_bytes() != b'model':
            raise RuntimeError('protobuf parsing failed')

    def get_inputs(self):
        return [SimpleNamespace(name='x', type='tensor(float)', shape=self.shape)]

    def run(self, names, inputs):
        assert inputs['x'].dtype == np.float32
        return [inputs['x'].repeat(2, axis=2).repeat(2, axis=3)]


@pytest.fixture
def onnx(tmp_path, monkeypatch) -> Path:
    fake = ModuleType('onnxruntime')
    vars(fake).update(
        InferenceSession=FakeSession, SessionOptions=SimpleNamespace, get_available_providers=lambda: ['CPU']
    )
    monkeypatch.setitem(sys.modules, 'onnxruntime', fake)
    path = tmp_path / 'net.onnx'
    path.write_bytes(b'model')
    return path


def test_onnx_file_finds_its_scale_and_takes_colour(sets, onnx):
    method = upscaler_of(str(onnx), sets)
    assert isinstance(method, OnnxFile)
    assert (method.name, method.scale) == ('net', 2)
    place = sets[0].places[0]
    assert np.array_equal(method.render(place), Nearest('nearest').render(place))


@pytest.mark.parametrize('shape', [[1, 3, 32, 32], ['n', 1, 'h', 'w'], ['n', 3]])
def test_onnx_file_of_another_input_is_refused(sets, onnx, monkeypatch, shape):
    monkeypatch.setattr(FakeSession, 'shape', shape)
    with pytest.raises(UserError, match='with free height and width'):
        upscaler_of(str(onnx), sets)


def test_onnx_without_the_package_or_damaged_is_explained(sets, onnx, monkeypatch):
    onnx.write_bytes(b'garbage')
    with pytest.raises(UserError, match=r'net\.onnx cannot be read as an ONNX model'):
        upscaler_of(str(onnx), sets)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UserError, match='pip install onnxruntime'):
        upscaler_of(str(onnx), sets)


def test_a_real_onnx_model(sets, tmp_path):
    pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    pytest.importorskip('onnx', reason='needs onnx')
    path = repeating_onnx(tmp_path / 'nearest.onnx', 4)
    method = upscaler_of(str(path), sets)
    assert method.scale == 4
    place = sets[1].places[0]
    assert np.array_equal(method.render(place), Nearest('nearest').render(place))


def test_an_exported_model_gives_the_images_of_its_network(sets, experiment, tmp_path):
    pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    weights = experiment / 'models' / 'net_g_latest.pth'
    state = torch.load(weights, weights_only=True)['params']
    generator = torch.Generator().manual_seed(0)
    torch.save({name: torch.randn(value.shape, generator=generator) * 0.1 for name, value in state.items()}, weights)
    network = upscaler_of(str(experiment), sets)
    for half, tolerance in ((False, 1), (True, 2)):  # grey levels: a half may be rounded to either side
        path = tmp_path / f'net_{half}.onnx'
        path.write_bytes(export(open_generator(experiment), half=half))
        method = upscaler_of(str(path), sets)
        assert method.scale == 2
        for place in sets[0].places:
            made, expected = method.render(place).astype(int), network.render(place).astype(int)
            assert np.abs(made - expected).max() <= tolerance
            assert expected.std() > 10


# ---------------------------------------------------------------------- folders
def fill(folder: Path, size_of_set: TestSet, addition: str = '') -> Path:
    """Nearest neighbours of a set as files."""
    folder.mkdir(parents=True)
    for place in size_of_set.places:
        cv2.imwrite(str(folder / f'{place.name}{addition}.png'), Nearest('nearest').render(place))
    return folder


def test_folder_of_one_set_and_folder_of_several_with_basicsrs_names(sets, tmp_path):
    large = larger_set(tmp_path)
    flat = upscaler_of(f'theirs={fill(tmp_path / "flat", large)}', [sets[0], large])
    assert isinstance(flat, ImageFolder)
    assert [flat.takes(test_set) for test_set in (sets[0], large)] == [False, True]  # the other's size is another
    with pytest.raises(
        UserError, match=r'fits tiny and quarter\. Put the images of each set into a folder of its name'
    ):
        upscaler_of(str(fill(tmp_path / 'ambiguous', sets[0])), sets)
    for test_set in sets[:1]:
        fill(tmp_path / 'visualization' / test_set.name, test_set, '_test_esrgan')
    several = upscaler_of(str(tmp_path / 'visualization'), sets[:1])
    place = sets[0].places[1]
    assert several.sources(place) == [tmp_path / 'visualization' / 'tiny' / 'second_test_esrgan.png']
    assert np.array_equal(several.render(place), Nearest('nearest').render(place))


def test_incomplete_and_empty_folders_and_wrong_sizes_are_refused(sets, tmp_path):
    own = fill(tmp_path / 'own' / 'tiny', sets[0])
    (own / 'second.png').unlink()
    with pytest.raises(UserError, match=r'lacks images of tiny, such as second'):
        upscaler_of(str(tmp_path / 'own'), sets)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='has the images of no set'):
        upscaler_of(str(tmp_path / 'empty'), sets)
    with pytest.raises(UserError, match=r'first\.png is 64 x 56, but scale \(4\) times'):
        upscaler_of(str(fill(tmp_path / 'half', sets[0])), [larger_set(tmp_path)])


def larger_set(tmp_path: Path) -> TestSet:
    """A set of the same names with larger images."""
    high, low = tmp_path / 'large_HR', tmp_path / 'large_LR'
    for folder, factor in ((high, 2), (low, 0.5)):
        folder.mkdir()
        for name in benchmark_images.SIZES:
            image = cv2.resize(benchmark_images.picture(name), None, fx=factor, fy=factor)
            cv2.imwrite(str(folder / f'{name}.png'), image)
    return read_set('large', (high, low))


@pytest.mark.parametrize('names', [['a', 'a'], ['a/b'], ['..'], ['']])
def test_names_must_do_for_folders(names):
    with pytest.raises(UserError, match='NAME='):
        require_names(names, 'method')
    require_names(['bicubic', 'Set5_x4', '(a) b-1.0'], 'method')


def test_networks_of_certain_sides_take_every_image(tmp_path, monkeypatch):
    """RRDBNet folds its input at scale 2."""
    network = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 2, 'num_feat': 4, 'num_block': 1}
    experiment = benchmark_images.finished_experiment(tmp_path / 'rrdb', network)
    opened = open_generator(experiment)
    (tmp_path / 'rrdb.onnx').write_bytes(export(opened))
    low = np.random.default_rng(0).integers(0, 256, (25, 27, 3), np.uint8)
    whole = np.pad(low, ((0, 1), (0, 1), (0, 0)), mode='reflect')
    net = NetworkFile('net', 2, experiment)
    expected = net.enlarge(whole, 2)[:50, :54]
    assert np.array_equal(net.enlarge(low, 2), expected)
    onnx = OnnxFile('onnx', 2, tmp_path / 'rrdb.onnx').enlarge(low, 2)
    assert onnx.shape == expected.shape
    assert np.abs(onnx.astype(int) - expected).max() <= 1
