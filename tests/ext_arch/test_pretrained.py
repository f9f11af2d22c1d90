"""Where ImageNet weights come from, in which order, and what is said when there are none."""

import pickle
import socket
import urllib.error
from pathlib import Path

import pytest
import torch

from ext_arch import pretrained

pytestmark = pytest.mark.wide_vgg


@pytest.fixture
def folders(monkeypatch, tmp_path) -> list[Path]:
    """Empty folders in place of the real ones, and a network whose use is an error."""
    (tmp_path / 'run').mkdir()
    monkeypatch.chdir(tmp_path / 'run')
    monkeypatch.setattr(pretrained, 'PROJECT_ROOT', tmp_path / 'project')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', lambda *_, **__: pytest.fail('must not download'))
    for folder in pretrained.weight_folders():
        folder.mkdir(parents=True)
    return pretrained.weight_folders()


@pytest.fixture(scope='module')
def alexnet() -> dict[str, torch.Tensor]:
    return pretrained.load_feature_weights('alexnet', 'random')


def test_local_files_are_found_in_order(folders):
    network = pretrained.NETWORKS['vgg19']
    assert pretrained.find_weights('vgg19') is None
    for folder in reversed(folders):
        for file in (network.published, network.features):
            (folder / file).touch()
            assert pretrained.find_weights('vgg19') == folder / file
    assert pretrained.find_weights('vgg16') is None


def test_published_names_are_those_basicsr_and_torchvision_use():
    import torchvision

    weights = {'vgg16': 'VGG16_Weights', 'vgg19': 'VGG19_Weights', 'alexnet': 'AlexNet_Weights'}
    for name, network in pretrained.NETWORKS.items():
        assert network.url == getattr(torchvision.models, weights[name]).IMAGENET1K_V1.url
    assert pretrained.NETWORKS['vgg19'].published == 'vgg19-dcbb9e9d.pth'
    assert pretrained.NETWORKS['alexnet'].sha256_prefix == '7be5be79'


def test_explicit_path_comes_before_local_file(folders, alexnet, tmp_path):
    ones = {key: torch.ones_like(value) for key, value in alexnet.items()}
    torch.save(alexnet, folders[0] / 'alexnet_features.pth')
    torch.save(ones, tmp_path / 'mine.pth')
    local = pretrained.load_feature_weights('alexnet')
    assert all(torch.equal(local[key], alexnet[key]) for key in alexnet)
    explicit = pretrained.load_feature_weights('alexnet', str(tmp_path / 'mine.pth'))
    assert all(bool((value == 1).all()) for value in explicit.values())


def test_whole_classifier_and_half_precision_are_read(folders, alexnet, tmp_path):
    """And random weights have He's variance."""
    state = {key: value.half() for key, value in alexnet.items()} | {'classifier.1.weight': torch.zeros(2)}
    torch.save(state, tmp_path / 'full.pth')
    loaded = pretrained.load_feature_weights('alexnet', str(tmp_path / 'full.pth'))
    assert list(loaded) == list(alexnet)
    assert all(value.dtype == torch.float32 for value in loaded.values())
    out, _, height, width = loaded['features.3.weight'].shape
    assert loaded['features.3.weight'].std().item() == pytest.approx((2 / (out * height * width)) ** 0.5, rel=0.05)
    assert not loaded['features.3.bias'].any()


def test_without_weights_one_message_with_the_commands(folders, monkeypatch):
    timeouts = []

    def offline(*_, **__):
        timeouts.append(socket.getdefaulttimeout())
        raise urllib.error.URLError('no such host')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    with pytest.raises(OSError, match='No ImageNet weights') as error:
        pretrained.load_feature_weights('vgg19')
    message = str(error.value)
    for part in (
        'vgg19-dcbb9e9d.pth',
        'python scripts/get_weights.py vgg19',
        'vgg_type: vgg16',
        'conv5_3',
        *map(str, folders),
    ):
        assert part in message
    assert timeouts == [pretrained.DOWNLOAD_TIMEOUT], 'one try, with a timeout'
    assert socket.getdefaulttimeout() is None


def test_download_goes_to_torch_hubs_cache_with_its_hash_checked(folders, alexnet, monkeypatch):
    calls = []

    def download(url, target, hash_prefix, progress):
        calls.append((url, hash_prefix))
        torch.save(alexnet, target)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    loaded = pretrained.load_feature_weights('alexnet')
    assert torch.equal(loaded['features.0.weight'], alexnet['features.0.weight'])
    assert calls == [('https://download.pytorch.org/models/alexnet-owt-7be5be79.pth', '7be5be79')]
    assert pretrained.find_weights('alexnet') == folders[-1] / 'alexnet-owt-7be5be79.pth'


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        ({'features.10.bias': None}, 'features.10.bias is missing'),
        ({'features.3.weight': torch.zeros(192, 64, 4, 5)},
         r'features.3.weight is \(192, 64, 4, 5\) instead of \(192, 64, 5, 5\)'),
        ({'features.34.weight': torch.zeros(1)}, 'features.34.weight is unknown'),
    ],
)  # fmt: skip
def test_weights_of_another_network_are_refused(folders, alexnet, tmp_path, change, complaint):
    state = {key: value for key, value in (alexnet | change).items() if value is not None}
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=rf'other\.pth.*alexnet: {complaint}'):
        pretrained.load_feature_weights('alexnet', str(tmp_path / 'other.pth'))


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path('executed'),))


def test_unusable_files_are_refused_and_nothing_is_executed(folders, tmp_path):
    (tmp_path / 'garbage.pth').write_bytes(b'not a checkpoint')
    (tmp_path / 'empty.pth').touch()
    (tmp_path / 'code.pth').write_bytes(pickle.dumps(Malicious()))
    torch.save([torch.zeros(1)], tmp_path / 'list.pth')
    for name in ('garbage', 'empty', 'code', 'list', 'absent'):
        with pytest.raises((ValueError, OSError), match=rf'{name}\.pth'):
            pretrained.load_feature_weights('vgg16', str(tmp_path / f'{name}.pth'))
    assert not Path('executed').exists()
