"""Networks of spandrel by their names in an option file: representative ones; studies/networks_table.py tries all."""

import sys

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from ext_arch import spandrel_networks
from ext_core import doctor
from ext_core.errors import UserError
from ext_core.networks.export import metadata_of, save_safetensors, weights_of
from ext_core.networks.files import open_generator
from ext_core.options import network_sections, yaml_safe
from ext_models.registries import look_up
from studies.networks_table import CASES, NO_GENERATORS, exported, idle, same_in_spandrel, trained, validated

spandrel = pytest.importorskip('spandrel')
SPAN = {'type': 'SPAN', **CASES['SPAN'].arguments}


@pytest.fixture
def without_spandrel(monkeypatch):
    """A registry as it is where spandrel is not installed."""
    monkeypatch.setattr(ARCH_REGISTRY, '_obj_map', {
        name: entry for name, entry in ARCH_REGISTRY if not entry.__module__.startswith('spandrel.')
    })  # fmt: skip
    monkeypatch.setitem(sys.modules, 'spandrel.architectures.SPAN', None)
    spandrel_networks.register()


@pytest.mark.parametrize('name', ['SPAN', 'Swin2SR', 'FDAT'])  # several convolutions in one; windows; a frozen part
def test_it_trains_saves_and_goes_elsewhere(name, tmp_path):
    case = CASES[name]
    model = trained(name, case, 'ExtSRModel', tmp_path)
    assert bool(idle(model.net_g)) == (name != 'Swin2SR')
    assert validated(model, case) == (0, 0)
    assert same_in_spandrel(model, case, tmp_path)
    assert exported(model, name, case) < 1e-4
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    gan = trained(name, case, 'MaskGANModel')
    assert any(not torch.equal(before[key], value) for key, value in gan.net_g.state_dict().items())


def test_the_names_are_those_of_spandrel():
    packages = {module.rpartition('.')[2]: sys.modules[module] for module in sys.modules
                if module.startswith('spandrel.architectures.') and module.count('.') == 2}  # fmt: skip
    found = {
        name: package
        for package, module in packages.items()
        for name in getattr(module, '__all__', ())
        if isinstance(getattr(module, name), type) and issubclass(getattr(module, name), nn.Module)
    }
    assert found == {**spandrel_networks.NETWORKS, 'RCAN': 'RCAN', 'SwinIR': 'SwinIR'}
    assert {*CASES, *NO_GENERATORS} == set(spandrel_networks.NETWORKS)


def test_basicsrs_and_your_own_networks_come_first(monkeypatch):
    class SPAN(nn.Module):
        pass

    assert look_up(ARCH_REGISTRY, 'SwinIR').__module__.startswith('basicsr.')
    monkeypatch.setattr(ARCH_REGISTRY, '_obj_map', dict(iter(ARCH_REGISTRY)))
    ARCH_REGISTRY.register(SPAN)
    assert look_up(ARCH_REGISTRY, 'SPAN') is SPAN
    assert type(build_network({'type': 'SPAN'})) is SPAN


def said(**network) -> list[str]:
    """What the check says of a generator at scale 4."""
    return [str(problem) for problem in network_sections.problems({'scale': 4, 'network_g': network}, True)]


def test_arguments_are_checked_against_the_signature():
    assert said(**SPAN) == []
    assert said(**SPAN, feature_chanels=4) == [
        "network_g:feature_chanels: SPAN has no such argument. Did you mean 'feature_channels'?"
    ]
    assert said(type='SPAN') == [f'network_g:{key} is missing: SPAN needs it.' for key in ('num_in_ch', 'num_out_ch')]
    assert said(type='SAFMN', dim=8, upscaling_factor=2) == [
        'network_g:upscaling_factor is 2, but scale is 4. Set network_g:upscaling_factor: 4, or correct scale.'
    ]
    assert said(type='SPAM') == ["network_g:type: there is no network 'SPAM'. Did you mean 'SPAN'?"]
    assert said(type=['SPAN'])[0].startswith("network_g:type: there is no network '['SPAN']'")


def test_where_spandrel_is_missing_the_remedy_is_told(without_spandrel, tmp_path):
    remedy = 'SPAN is a network of the package spandrel. Install it, or a newer version: pip install -U spandrel'
    assert said(**SPAN) == [f'network_g:type: {remedy}']
    assert said(type='SPAM') == ["network_g:type: there is no network 'SPAM'. Did you mean 'SPAN'?"]
    torch.save({'params': {'a': torch.zeros(1)}}, tmp_path / 'net.pth')
    (tmp_path / 'net.yml').write_text(yaml_safe.dump({'scale': 4, 'network_g': SPAN}))
    with pytest.raises(UserError, match='pip install -U spandrel'):
        open_generator(tmp_path / 'net.pth', options=tmp_path / 'net.yml')
    assert any(line.endswith('none: pip install spandrel (docs/networks.md)') for line in doctor._components().lines)


def test_the_doctor_lists_them():
    (line,) = [line for line in doctor._components().lines if "spandrel's" in line]
    assert ' 45 (ATD, AuraSR, ' in line


def test_safetensors_tell_the_network_and_open_in_spandrel_alone(tmp_path):
    net = build_network(SPAN).eval()
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    (tmp_path / 'net.yml').write_text(yaml_safe.dump({'scale': 4, 'network_g': SPAN}))
    opened = open_generator(tmp_path / 'net.pth', options=tmp_path / 'net.yml')
    save_safetensors(weights_of(opened, half=False), metadata_of(opened), tmp_path / 'net.safetensors')
    image = torch.rand(1, 3, 8, 8)
    again = open_generator(tmp_path / 'net.safetensors')
    assert (again.source, again.type, again.scale) == ('metadata', 'SPAN', 4)
    alone = spandrel.ModelLoader().load_from_file(tmp_path / 'net.safetensors')
    with torch.no_grad():
        assert torch.equal(again.net(image), net(image))
        assert torch.equal(alone.model.eval()(image), net(image))
