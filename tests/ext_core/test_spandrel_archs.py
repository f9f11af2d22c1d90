"""spandrel opens what is trained here, and gives the same images."""

import pytest
import spandrel
import torch
from generator_zoo import ESRGAN, OURS, SILENT, ZOO, first, image, name_of, output, saved, scale_of, tiny

from ext_core.errors import UserError
from ext_core.networks import spandrel_archs
from ext_core.networks.export import metadata_of, save_safetensors, weights_of
from ext_core.networks.files import open_generator


@pytest.fixture
def registry() -> spandrel.ArchRegistry:
    """spandrel's own networks and ours, without changing spandrel's registry for other tests."""
    registry = spandrel.MAIN_REGISTRY.copy()
    spandrel_archs.install(registry)
    return registry


@pytest.mark.parametrize('network', ZOO, ids=name_of)
def test_checkpoints_of_every_generator_give_the_same_images(network, tmp_path, registry):
    net = saved(network, tmp_path / 'net.pth')
    model = spandrel.ModelLoader(registry=registry).load_from_file(tmp_path / 'net.pth')
    reduces = network['type'] == 'DegradationNet'
    assert model.architecture.id == f'BasicSR-Ext.{network["type"]}'
    assert (model.input_channels, model.output_channels) == (3, 3)
    assert model.scale == (1 if reduces else scale_of(network))
    assert torch.equal(model(image()), output(net).clamp(0, 1))
    torch.load(tmp_path / 'net.pth', weights_only=True)  # nothing in it needs more than that


def test_esrgan_is_left_to_spandrel(registry):
    assert registry.load(tiny({**ESRGAN, 'scale': 4}).state_dict()).architecture.id == 'ESRGAN'


@pytest.mark.parametrize('kind', [*OURS, 'EDSR', 'RRDBNet'])
def test_safetensors_give_the_same_images(kind, tmp_path, registry):
    network = {**first(kind), **({'res_scale': 0.5} if kind == 'EDSR' else {})}
    net = saved(network, tmp_path / 'net.pth')
    opened = open_generator(tmp_path / 'net.pth')
    opened.net, opened.network = net, network
    save_safetensors(weights_of(opened, half=False), metadata_of(opened), tmp_path / 'net.safetensors')
    model = spandrel.ModelLoader(registry=registry).load_from_file(tmp_path / 'net.safetensors')
    assert torch.equal(model(image()), output(net).clamp(0, 1))


def test_sizes_are_padded_by_spandrel(tmp_path, registry):
    saved(first('DegradationNet'), tmp_path / 'net.pth')
    model = spandrel.ModelLoader(registry=registry).load_from_file(tmp_path / 'net.pth')
    assert model.size_requirements.multiple_of == 2
    assert model(image(height=23)).shape == (1, 3, 12, 18)


@pytest.mark.parametrize('kind', SILENT)
def test_scale_of_files_from_elsewhere_must_be_said(kind, registry):
    net = tiny(first(kind))
    with pytest.raises(ValueError, match='do not show the scale'):
        registry.load(dict(net.state_dict()))
    spandrel_archs.install(registry, scale=2)
    try:
        assert torch.equal(registry.load(dict(net.state_dict())).model(image()), output(net))
    finally:
        spandrel_archs.install(registry)


def test_installing_twice_changes_nothing_and_comes_before_spandrels_own(registry):
    before = registry.architectures('detection')
    spandrel_archs.install(registry)
    assert registry.architectures('detection') == before
    ours = [support.architecture.id.startswith('BasicSR-Ext.') for support in before]
    assert ours == sorted(ours, reverse=True)
    assert sum(ours) == 11


@pytest.mark.parametrize('num_conv', [2, 3])  # with 2 its names are those of DegradationNet
def test_spandrels_own_networks_stay_its_own(num_conv, registry):
    network = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': num_conv, 'upscale': 1, 'act_type': 'prelu'}
    assert registry.load(tiny(network).state_dict()).architecture.id == 'Compact'


def test_unknown_files_stay_unknown(registry):
    with pytest.raises(spandrel.UnsupportedModelError):
        registry.load({'conv1.weight': torch.zeros(4, 3, 3, 3), 'something.weight': torch.zeros(1)})
    weights = {**tiny(first('SRCNN')).state_dict(), 'conv4.weight': torch.zeros(1)}
    with pytest.raises(spandrel.UnsupportedModelError):
        registry.load(weights)


def test_without_spandrel_it_is_named(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'spandrel', None)
    with pytest.raises(UserError, match='pip install spandrel'):
        spandrel_archs.install()
