"""What the discriminator of an energy GAN says: the table, the errors that it is shown, and an experiment's files."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from torch import Tensor, nn
from torch.nn import functional as F

from ext_arch.pretrained import load_feature_weights
from ext_core.options import yaml_safe
from ext_data.preparation.demo import ensure_demo_data
from studies import energy_maps as script

ROWS = ['real', 'generated', 'bicubic', 'bicubic x2', 'real + noise 5', 'bicubic + noise 8', 'over-sharpened',
        'JPEG 10', 'checkerboard 6']  # fmt: skip
GENERATOR = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 4}
ENERGY = {'type': 'VGGUAE', 'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1}


class Grey(nn.Module):
    """An autoencoder that gives mid-grey: U = mean (2 x - 1)^2."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return (self.scale * (2 * x - 1)).square()

    def reconstruct(self, x: Tensor) -> Tensor:
        return torch.full_like(x, 0.5)


class Brighter(nn.Module):
    """A generator that repeats pixels and adds 10 grey levels."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(10 / 255))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=4) + self.offset


def even(level: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def pixels(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None, path
    return image


def store(root: Path, images: dict[str, np.ndarray], scale: int = 4) -> tuple[Path, Path]:
    """Folders with the images, and with every fourth pixel of them."""
    folders = root / 'gt', root / 'lq'
    for folder, step in zip(folders, (1, scale), strict=True):
        folder.mkdir(parents=True)
        for name, image in images.items():
            cv2.imwrite(str(folder / name), image[::step, ::step])
    return folders


# ---------------------------------------------------------------------- the table
def test_table_in_closed_form(tmp_path):
    """Even images of 200 and of 50 levels: 10 levels more bring the first further from mid-grey, the second nearer."""
    folders = store(tmp_path, {'bright.png': even(200), 'dark.png': even(50)})
    energies, shown = script.measure(Grey(), SimpleNamespace(net=Brighter(), scale=4), folders, None, 1)
    results = script.summary(energies)

    def energy(*levels: int) -> float:
        return float(np.mean([(2 * level / 255 - 1) ** 2 for level in levels]))

    assert list(results) == ROWS
    for row in ('real', 'bicubic', 'bicubic x2', 'over-sharpened'):  # of even images they are the image
        assert results[row]['images'] == pytest.approx({'bright.png': energy(200), 'dark.png': energy(50)}, rel=1e-5)
    assert results['generated']['energy'] == pytest.approx(energy(210, 60), rel=1e-5)
    assert results['generated']['above_real'] == 0.5
    assert results['checkerboard 6']['energy'] == pytest.approx(energy(194, 206, 44, 56), rel=1e-5)
    assert results['checkerboard 6']['above_real'] == 1
    assert results['bicubic']['above_real'] == 0  # equal is not above
    assert results['real']['above_real'] is None

    assert len(shown) == 1
    assert list(shown[0].judged) == ['real', 'generated', 'bicubic']
    assert shown[0].judged['generated'].energy_map == pytest.approx(np.full((32, 48), energy(210)), rel=1e-5)
    assert (shown[0].reconstruction == 128).all()

    lines = script.table(results, 'title').splitlines()
    assert lines[:3] == [
        'title',
        '                          energy  above real',
        f'real                {energy(200, 50):12.3e}',
    ]
    assert lines[3] == f'generated           {energy(210, 60):12.3e}        0.50'


# ---------------------------------------------------------------------- the part of an image
@pytest.mark.parametrize(
    ('size', 'crop', 'expected'),
    [
        ((32, 48), None, (slice(0, 32), slice(0, 48))),
        ((37, 62), None, (slice(2, 34), slice(7, 55))),
        ((37, 62), 16, (slice(10, 26), slice(23, 39))),
    ],
)
def test_the_middle_is_cut_to_multiples_of_16(size, crop, expected):
    assert script.window(size, crop, 'x.png') == expected


def test_the_same_part_of_each_image(tmp_path):
    """Of 66 x 70 px, whose LR image is as if the image were of 68 x 72 px."""
    image = np.add.outer(np.arange(66), 2 * np.arange(70)).astype(np.uint8)[..., None].repeat(3, 2)
    store(tmp_path, {'a.png': image})
    method = SimpleNamespace(net=Brighter(), scale=4)
    real, generated, bicubic = script.load_images(method, tmp_path / 'lq' / 'a.png', tmp_path / 'gt' / 'a.png', None)
    assert np.array_equal(real, image[1:65, 3:67])
    repeated = image[::4, ::4].repeat(4, 0).repeat(4, 1)
    assert np.array_equal(generated, repeated[1:65, 3:67] + 10)
    assert bicubic.shape == real.shape


# ---------------------------------------------------------------------- an experiment
@pytest.fixture
def energy_opt(tmp_path) -> dict:
    """The discriminator's options; untrained VGG weights, but the same in every build."""
    file = tmp_path / 'random.pth'
    torch.manual_seed(0)
    torch.save(load_feature_weights('vgg16', 'random'), file)
    return {**ENERGY, 'weights': str(file)}


@pytest.fixture(scope='module')
def photographs(tmp_path_factory) -> dict[str, np.ndarray]:
    """Of 64 px."""
    data = ensure_demo_data(tmp_path_factory.mktemp('data')) / 'val' / 'gt'
    return {path.name: pixels(path)[100:164, 100:164] for path in sorted(data.iterdir())}


@pytest.fixture
def experiment(tmp_path, energy_opt, photographs) -> Path:
    """What training leaves, and a validation set."""
    torch.manual_seed(0)
    gt, lq = store(tmp_path, photographs)
    folder = tmp_path / 'experiments' / 'energy'
    (folder / 'models').mkdir(parents=True)
    val = {'name': 'Two', 'dataroot_gt': str(gt), 'dataroot_lq': str(lq)}
    write_options(folder, network_d=energy_opt, datasets={'val': val})
    for letter, network in (('g', GENERATOR), ('d', energy_opt)):
        torch.save({'params': build_network(network).state_dict()}, folder / 'models' / f'net_{letter}_latest.pth')
    return folder


def write_options(folder: Path, **changes: object) -> None:
    file = folder / 'energy.yml'
    opt = yaml_safe.read(file) if file.exists() else {}
    opt = {
        'model_type': 'EnergyGANModel',
        'scale': 4,
        'network_g': GENERATOR,
        'train': {'gan_opt': {'type': 'EnergyGANLoss'}},
        **opt,
        **changes,
    }
    file.write_text(yaml_safe.dump(opt))


def test_table_picture_and_figures(experiment, tmp_path, capsys):
    picture, figures = tmp_path / 'new' / 'energy.png', tmp_path / 'other' / 'energy.json'
    arguments = ['--experiment', str(experiment), '--output', str(picture), '--json', str(figures)]
    assert script.main(arguments) == 0
    output = capsys.readouterr().out
    assert output.startswith('Two, 2 images, whole\n')
    assert f'picture: {picture}' in output
    results = json.loads(figures.read_text())['Two']
    assert list(results) == ROWS
    assert all(len(values['images']) == 2 and values['energy'] > 0 for values in results.values())
    assert all(row in output for row in ROWS)
    height, width, _ = pixels(picture).shape
    assert width == pytest.approx(110 * (7 * 2.1 + 0.8), abs=1)
    assert height == pytest.approx(110 * 2 * 2.1 * 1.2, abs=1)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'train': {'gan_opt': {'type': 'AdversarialLoss'}}}, 'no energy GAN: its train:gan_opt is AdversarialLoss'),
        ({'train': {'gan_opt': {'type': 'EnergyGANLoss'}, 'mask_opt': {'k': 0.2}}}, 'through train:mask_opt'),
        ({'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3}}, 'is no autoencoder'),
        ({'network_d': {**ENERGY, 'num_conv': 2}}, 'net_d_latest.pth holds weights for another network'),
        ({'network_d': ENERGY}, 'trained on another VGG'),
        ({'datasets': {}}, 'Give --set'),
        ({'scale': 2}, 'is not 2 times as large as'),
    ],
)
def test_mistakes_are_explained(changes, message, experiment, capsys):
    write_options(experiment, **changes)
    assert script.main(['--experiment', str(experiment)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'), [(['--crop', '40'], 'multiple of 16'), (['--rows', '0'], '--rows must be 1')]
)
def test_arguments_out_of_range(arguments, message, experiment, capsys):
    assert script.main(['--experiment', str(experiment), *arguments]) == 1
    assert message in capsys.readouterr().err
