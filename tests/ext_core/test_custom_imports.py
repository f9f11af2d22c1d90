"""Classes of a user's own project: `custom_imports` of an option file, and `upscale.py --import`."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from check_recipes import PSNR, find_problems, put
from PIL import Image

from ext_core import launch
from ext_core.options import loading as options
from ext_core.registration import import_modules

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'scripts'))
from script_loader import load_script

MODULE = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

@ARCH_REGISTRY.register()
class OwnNet(torch.nn.Module):
    def __init__(self, upscale: int = 4):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 3 * upscale**2, 3, padding=1), torch.nn.PixelShuffle(upscale))

    def forward(self, x):
        return self.net(x)

@LOSS_REGISTRY.register()
class OwnLoss(torch.nn.Module):
    def forward(self, x, gt):
        return (x - gt).square().mean()
"""
OWN = {'imports': ['own.parts'], 'allow_failed_imports': False}


@pytest.fixture
def project(data, monkeypatch, fresh_logger):
    """The current folder, with images, a package of its own, and nothing of it imported."""
    (data / 'own').mkdir()
    (data / 'own' / 'parts.py').write_text(MODULE)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setattr(sys, 'path', [*sys.path])
    yield data
    for name in [name for name in sys.modules if name.split('.')[0] == 'own']:
        del sys.modules[name]
    for registry, name in ((ARCH_REGISTRY, 'OwnNet'), (LOSS_REGISTRY, 'OwnLoss')):
        registry._obj_map.pop(name, None)


def option_file(**changes) -> str:
    opt = yaml.safe_load(PSNR) | {'model_type': 'ExtSRModel', 'network_g': {'type': 'OwnNet', 'upscale': 4}, **changes}
    opt['datasets'] = {'train': opt['datasets']['train'] | {'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0}}
    opt['train'] |= {'pixel_opt': None, 'losses': {'own': {'type': 'OwnLoss'}}, 'total_iter': 2}
    opt['logger'] = {'print_freq': 1, 'save_checkpoint_freq': 2}
    del opt['val']
    Path('own.yml').write_text(yaml.safe_dump(opt))
    return 'own.yml'


def test_a_training_and_upscale_take_a_network_and_a_loss_of_ones_own(project, capfd):
    file = option_file(custom_imports=OWN)
    assert (
        launch.train(project, ['-opt', file, '--force_yml', 'network_g:upscale=4', 'custom_imports:imports=own.parts'])
        == 0
    )
    assert 'l_own' in capfd.readouterr().err
    upscale = load_script('upscale')
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save('a.png')
    words = ['-m', f'experiments/{yaml.safe_load(PSNR)["name"]}', '-i', 'a.png', '-o', 'out', '--device', 'cpu']
    forget(project)
    assert upscale.main(words) == 1  # an option file that lies beside runs nothing
    assert 'upscale.py --import own.parts' in capfd.readouterr().err
    assert 'own.parts' not in sys.modules
    assert upscale.main([*words, '--import', 'own.parts']) == 0
    forget(project)
    assert upscale.main([*words, '-opt', file, '--overwrite']) == 0
    with Image.open('out/a.png') as image:
        assert image.size == (80, 80)


def forget(project: Path) -> None:
    sys.modules.pop('own.parts')
    ARCH_REGISTRY._obj_map.pop('OwnNet')
    LOSS_REGISTRY._obj_map.pop('OwnLoss')


def test_a_module_that_cannot_be_imported_is_named(project, capfd):
    (project / 'own' / 'broken.py').write_text('import nowhere')
    for name, reason in (('own.missing', "No module named 'own.missing'"), ('own.broken', "No module named 'nowhere'"),
                         ('own/parts.py', 'No module named')):  # fmt: skip
        assert launch.train(project, ['-opt', option_file(custom_imports={'imports': name})]) == 1
        error = capfd.readouterr().err
        assert f"custom_imports: the module '{name}' cannot be imported: ModuleNotFoundError: {reason}" in error
    assert not (project / 'experiments').exists()
    imports = {'imports': ['own.missing', 'own.parts'], 'allow_failed_imports': True}
    assert launch.train(project, ['-opt', option_file(custom_imports=imports)]) == 0
    assert "warning: custom_imports: the module 'own.missing'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ('value', 'wanted'),
    [
        ({}, 'custom_imports:imports is missing'),
        ({'imports': 3}, 'custom_imports:imports must be'),
        ({'imports': ['json', 3]}, 'custom_imports:imports must be'),
        ({'imports': 'json', 'allow_failed_imports': 'yes'}, 'custom_imports:allow_failed_imports must be'),
        ({'imports': 'json', 'import': 'json'}, 'custom_imports:import: unknown key'),
        (['json'], 'custom_imports must be'),
    ],
)
def test_wrong_sections_are_refused(data, value, wanted):
    options.import_customs({'custom_imports': value})
    (problem,) = find_problems(put('custom_imports', value), is_train=True)
    assert problem.startswith(wanted)


def test_what_is_installed_comes_first(project):
    (project / 'torch.py').write_text('raise AssertionError')
    import_modules(['torch'], '--import')
    assert sys.path[-1] == str(project)
    assert sys.modules['torch'] is torch
