"""Checkpoints of the first edition load, resume, and lead to the weights to which they led then."""

import shutil

import golden
import pytest
import torch
from golden import GOLDEN

from ext_core.networks.files import open_generator
from ext_core.train import checkpoint as manifest

RUNS = sorted(path.parent.name for path in GOLDEN.glob('*/options.yml'))
NETWORKS = {'da_stage2': 'MSRResNet', 'degradation': 'DegradationNet', 'energy_gan': 'MSRResNet',
            'mask_gan': 'RRDBNet', 'supervised_soap': 'MSRResNet'}  # fmt: skip


def test_the_runs_are_there():
    assert list(NETWORKS) == RUNS


@pytest.mark.parametrize('name', RUNS)
def test_resumes_to_the_weights_of_then(name, tmp_path, monkeypatch, fresh_logger):
    if name.endswith('soap'):
        pytest.importorskip('pytorch_optimizer')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    experiment = tmp_path / 'experiments' / name
    for folder in ('models', 'training_states'):
        shutil.copytree(GOLDEN / name / folder, experiment / folder)
    manifest.verify(experiment / 'training_states', 2, sorted((experiment / 'models').iterdir()))
    assert golden.train(tmp_path, name, '--auto_resume') == experiment
    assert ', iter: 2. What earlier logs' in next(experiment.glob('*.log')).read_text()
    for file in (GOLDEN / name / 'iteration_4').iterdir():
        then, now = (torch.load(path, weights_only=True) for path in (file, experiment / 'models' / file.name))
        assert then.keys() == now.keys()
        for key, weights in then.items():
            assert weights.keys() == now[key].keys()
            # Not to the bit: processors of one capability (AVX512, ...) differ in their convolutions, and Adam makes a
            # whole step of a gradient that is nearly 0. With a lost state most weights would be a step away.
            apart = torch.cat([(now[key][name] - value).abs().flatten() for name, value in weights.items()])
            assert apart.max() < 1e-3, f'{file.name}: {key}'
            assert apart.mean() < 2e-5, f'{file.name}: {key}'


@pytest.mark.parametrize(
    'file', sorted(GOLDEN.glob('*/*/net_g_*.pth')), ids=lambda file: f'{file.parts[-3]}-{file.stem}'
)
@pytest.mark.parametrize('told', ['by its options', 'by its weights'])
def test_generators_open(file, told):
    name = file.parts[-3]
    options = GOLDEN / name / 'options.yml' if told == 'by its options' else None
    opened = open_generator(file, options=options, scale=4)
    assert (opened.type, opened.scale, opened.reduces) == (NETWORKS[name], 4, name == 'degradation')
    stored = torch.load(file, weights_only=True)
    weights = stored.get('params_ema', stored['params'])
    assert opened.key == ('params_ema' if 'params_ema' in stored else 'params')
    assert all(torch.equal(value, weights[key]) for key, value in opened.net.state_dict().items())
