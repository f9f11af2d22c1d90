"""Every training recipe, shrunk: it trains, saves, validates, and a resumed run equals the uninterrupted one.

Meanwhile its options are watched: a key that nobody reads would be ignored in silence.
"""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from basicsr.utils import options as basicsr_options
from basicsr.utils.registry import MODEL_REGISTRY

from ext_core import launch
from ext_core.box import generators
from ext_core.options import check, yaml_safe
from ext_core.options import loading as options
from ext_core.options.problems import LAUNCHER_DATASETS, LAUNCHER_PATHS

PROJECT = Path(__file__).resolve().parents[1]
FILES = [path for name in ('train', 'finetune') for path in sorted((PROJECT / 'options').glob(f'{name}_*.yml'))]
RECIPES = [path for path in FILES if 'model_type' in options.load(path)]
# of networks that have these arguments
TINY = {'num_feat': 4, 'num_block': 1, 'num_group': 1, 'squeeze_factor': 2, 'num_conv': 3, 'd': 4, 's': 2, 'm': 1}


class Watched(dict):
    """A section of the options that remembers which of its keys were asked for; looking through them all is not."""

    def __init__(self, content: dict, read: set[str]):
        super().__init__(content)
        self.read = read

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key):
        self.read.add(key)
        return super().__contains__(key)

    def get(self, key, default=None):
        self.read.add(key)
        return super().get(key, default)

    def pop(self, key, *default):
        self.read.add(key)
        return super().pop(key, *default)

    def __iter__(self):  # without it, f(**section) would take the values past __getitem__
        return super().__iter__()

    def __deepcopy__(self, memo):
        return Watched({key: copy.deepcopy(value, memo) for key, value in dict.items(self)}, self.read)


class Watch:
    """Watches the sections of a run's options from the end of the check on."""

    def __init__(self, monkeypatch):
        self.warned = ''
        self.given: dict[str, set[str]] = {}
        self.read: dict[str, set[str]] = {}
        find_warnings = check.find_warnings

        def then_watch(opt, positions=None):
            warnings = find_warnings(opt, positions)
            self.warned += '\n'.join(warnings)
            for name in ('train', 'val', 'logger', 'path'):
                opt[name] = self.watched(name, opt[name])
            for phase, section in opt['datasets'].items():
                opt['datasets'][phase] = self.watched(f'datasets:{phase}', section)
            # neither the log's copy of the options nor the check, which a model repeats, is a reader
            monkeypatch.setattr(basicsr_options, 'dict2str', lambda opt: '')
            for _, model in MODEL_REGISTRY:
                if hasattr(model, 'option_problems'):
                    monkeypatch.setattr(model, 'option_problems', staticmethod(lambda opt: ()))
            return warnings

        monkeypatch.setattr(check, 'find_warnings', then_watch)

    def watched(self, name: str, section: dict) -> Watched:
        own = {key for key, value in section.items() if value is not None}
        self.given[name] = own - (LAUNCHER_PATHS if name == 'path' else LAUNCHER_DATASETS)
        return Watched(section, self.read.setdefault(name, set()))

    def unread(self) -> list[str]:
        """Keys that the option file gives, nobody has read, and no warning has named."""
        found = [f'{name}:{key}' for name, keys in self.given.items() for key in sorted(keys - self.read[name])]
        return [path for path in found if f'{path} ' not in self.warned and f'{path}:' not in self.warned]


@pytest.fixture
def watch(monkeypatch) -> Watch:
    return Watch(monkeypatch)


@pytest.fixture(scope='module', autouse=True)
def gpu_is_hidden():
    """The same numbers on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('CUDA_VISIBLE_DEVICES', '')
        yield


def tiny(network: dict) -> dict:
    """What makes a generator small: of lists (SRCNN's features) each element."""
    sizes = {key: size for key, size in TINY.items() if key in network}
    return {key: [size] * len(network[key]) if isinstance(network[key], list) else size for key, size in sizes.items()}


def shrunk(recipe: Path, folder: Path) -> Path:
    """An option file that inherits the recipe and takes four iterations of a tiny network, three of them before the
    adversarial phase where there is one before it."""
    opt = options.load(recipe)
    small: dict = {
        '_base_': str(recipe),
        'datasets': {'train': {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2}},
        'network_g': {} if opt['path']['pretrain_network_g'] in generators() else tiny(opt['network_g']),
        'train': {'total_iter': 4},
        'val': {'val_freq': 4, 'save_img': False},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2},
    }
    if 'metrics' in opt['val']:
        small['val']['metrics'] = {'_delete_': True, 'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}
    if 'network_d' in opt:
        small['network_d'] = {
            'PESRDiscriminator': {'num_feat': 4, 'input_size': 32, 'num_hidden': 8},
            'VGGUAE': {'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1},
        }.get(opt['network_d']['type'], {'num_feat': 4})
        if opt['network_d']['type'] in ('PESRDiscriminator', 'VGGUAE'):  # the other takes crops of 128 or 256 px only
            small['datasets']['train']['gt_size'] = 32
    else:  # LR images, where they are generated, have to be of 16 px for conv5, of 25 for spectra
        small['datasets']['train']['gt_size'] = 128 if 'dataroot_real_lq' in opt['datasets']['train'] else 32
    if opt['train']['scheduler']['type'] == 'LinearDecayLR':
        small['train']['scheduler'] = {'start': 2}
    if 'log_gradient_norms' in opt['train']:
        small['train']['log_gradient_norms'] = 2
    if 'perceptual_opt' in opt['train']:
        small['train']['perceptual_opt'] = {'weights': 'random'}
    if 'autoencoder_iters' in opt['train']:
        small['train']['autoencoder_iters'] = 1
    if opt['train'].get('pretrain_iters'):
        small['train']['pretrain_iters'] = 3
    file = folder / f'{recipe.stem}.yml'
    file.write_text(yaml_safe.dump(small))
    return file


@pytest.mark.parametrize('recipe', RECIPES, ids=lambda path: path.stem)
def test_trains_validates_and_resumes_exactly(recipe, tmp_path, monkeypatch, fresh_logger, watch):
    monkeypatch.chdir(PROJECT)
    command = ['-opt', str(shrunk(recipe, tmp_path)), '--demo']
    command += ['--force_yml', 'datasets:train:num_worker_per_gpu=0']  # images are read where they are watched
    assert launch.train(tmp_path, command) == 0
    experiment = tmp_path / 'experiments' / f'demo_{recipe.stem}'
    log = next(experiment.glob('*.log')).read_text()
    assert ('# mmd' if options.load(recipe)['model_type'] == 'DegradationModel' else '# psnr') in log
    if options.load(recipe)['train'].get('pretrain_iters'):
        lines = [line for line in log.splitlines() if '[eta: ' in line]
        assert ['l_g_pretrain' in line for line in lines] == [True, True, True, False]
        assert ['l_g_gan' in line for line in lines] == [False, False, False, True]

    models = experiment / 'models'
    uninterrupted = {path.name: torch.load(path, weights_only=True) for path in models.glob('*_4.pth')}
    assert uninterrupted
    for path in [*models.glob('*_4.pth'), *models.glob('*latest.pth'), experiment / 'training_states' / '4.state']:
        path.unlink()
    assert launch.train(tmp_path, [*command, '--auto_resume']) == 0
    for name, expected in uninterrupted.items():
        resumed = torch.load(models / name, weights_only=True)
        for key, tensors in expected.items():
            for weight, value in tensors.items():
                assert torch.equal(resumed[key][weight], value), (name, key, weight)
    shutil.rmtree(tmp_path / 'experiments')
    assert watch.unread() == []


@pytest.mark.parametrize('flags', [[], ['--demo']], ids=['', 'demo'])
@pytest.mark.parametrize('recipe', RECIPES, ids=lambda path: path.stem)
def test_nothing_in_a_recipe_is_worth_a_warning(recipe, flags):
    """What the launcher puts into the options is not either."""
    args = options.parse_arguments(['-opt', str(recipe), *flags], is_train=True)
    _, opt = options.resolve(args, PROJECT, is_train=True)
    assert check.find_warnings(opt) == []


@pytest.mark.parametrize('name', ['esrgan', 'pesr', 'edsr_gan', 'real_esrgan'])
def test_the_mask_is_the_only_difference(name):
    """And the model, which insists on it."""
    plain, masked = (options.load(PROJECT / 'options' / f'train_{part}{name}.yml') for part in ('', 'mask_'))
    assert masked.pop('name') == plain.pop('name').replace('train_', 'train_mask_')
    assert (masked.pop('model_type'), plain.pop('model_type')) == ('MaskGANModel', 'GANSRModel')
    mask = {'type': 'ErrorMask', 'k': 0.2, 'b': 0.5, 'error_norm': 'image_mean'}
    assert masked['train'].pop('mask_opt') == mask
    assert masked == plain


@pytest.mark.parametrize('recipe', sorted((PROJECT / 'options').glob('test_*.yml')), ids=lambda path: path.stem)
def test_evaluation_fits_the_training(recipe):
    """A test recipe has the generator of the training recipe whose weights it loads."""
    opt = options.load(recipe)
    weights = Path(opt['path']['pretrain_network_g'])
    trained = options.load(PROJECT / 'options' / f'{weights.parts[1]}.yml')
    assert opt['network_g'] == trained['network_g']
    assert opt['scale'] == trained['scale']
    names = [entry['name'] for entry in opt['datasets'].values()][:3]
    assert names == (['RealSR_Nikon'] if recipe.stem == 'test_da' else ['Set5', 'Set14', 'BSD100'])
