"""What files tell of a generator, and what they must not."""

import pytest

from ext_core.errors import UserError
from ext_core.networks.metadata import PREFIX, Metadata, from_strings, training_sets

NETWORK = {'type': 'EDSR', 'num_in_ch': 3, 'rgb_mean': [0.4, 0.4, 0.4], 'img_range': 255.0}
FIGURES = {'Set5': {'psnr': {'best': 30.5, 'iter': 4000, 'last': 30.25}}}
OPTIONS = {
    'name': 'first',
    'scale': 4,
    'num_gpu': 'auto',
    'datasets': {
        'train': {'name': 'Photos', 'type': 'PairedImageDataset', 'dataroot_gt': 'a/HR', 'num_worker_per_gpu': 2},
        'train_2': {'name': '~/mine', 'dataroot_gt_1': '/b'},
        'val': {'name': 'Set5', 'dataroot_gt': 'c'},
    },
    'network_g': {'type': 'EDSR', 'num_feat': 32},
    'path': {'pretrain_network_g': None, 'root': '/home/someone'},
    'train': {'total_iter': 10, 'perceptual_opt': {'weights': 'vgg.pth', 'loss_weight': 0.5}, 'folders': ['/x', 'y']},
}


def test_round_trip_through_strings():
    metadata = Metadata(NETWORK, 4, 4000, ('Photos',), FIGURES, 'abc')
    strings = metadata.to_strings()
    assert all(isinstance(text, str) and name.startswith(PREFIX) for name, text in strings.items())
    assert from_strings({**strings, 'format': 'pt'}, 'x') == metadata
    assert from_strings({'format': 'pt'}, 'x') is None
    short = Metadata(NETWORK, 2)
    assert set(short.to_strings()) == {PREFIX + name for name in ('network', 'scale', 'product')}
    assert from_strings(short.to_strings(), 'x') == short


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('network', '{"type": 5}'),
        ('network', '{"type": "EDSR", "num_feat": NaN}'),
        ('network', '{"type": "EDSR", "num_feat": 1e9}'),
        ('network', '{"type": "EDSR", "x": {"y": 1}}'),
        ('network', '{"type": "EDSR", "x": "C:\\\\Users"}'),
        ('network', '[' * 5000),
        ('network', '"' + 'x' * 200_000 + '"'),
        ('scale', '0'),
        ('scale', 'four'),
        ('iteration', 'late'),
        ('datasets', '7'),
        ('metrics', '{"Set5": 3}'),
    ],
)
def test_damaged_metadata_is_refused(name, text):
    strings = Metadata(NETWORK, 4).to_strings() | {PREFIX + name: text}
    with pytest.raises(UserError, match=r'net\.safetensors: its metadata .* is damaged'):
        from_strings(strings, 'net.safetensors')


def test_figures_that_are_no_numbers_are_left_out():
    figures = '{"Set5": {"psnr": {"best": Infinity, "last": "x", "iter": 5}}}'
    metadata = from_strings(Metadata(NETWORK, 4).to_strings() | {PREFIX + 'metrics': figures}, 'x')
    assert metadata is not None
    assert metadata.metrics == {'Set5': {'psnr': {'iter': 5}}}


def test_training_sets_are_named_without_paths():
    assert training_sets(OPTIONS) == ('Photos',)
    assert training_sets({}) == ()
