"""The energy benchmark compares what its names say; nothing here is about time."""

import json

import pytest

from studies import benchmark_energy as benchmark


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(benchmark.GENERATOR, 'num_feat', 4)
    monkeypatch.setitem(benchmark.GENERATOR, 'num_block', 1)


def test_variants_differ_in_what_their_names_say(tmp_path):
    variants = benchmark.variants(32, str(tmp_path / 'vgg19.pth'))
    network_d, train = variants['energy']
    assert network_d['type'] == 'VGGUAE'
    without = {**train}
    del without['gp_opt']
    assert variants['without penalty'] == (network_d, without)
    assert variants['without penalty, own VGG pass'] == (network_d, {**without, 'share_vgg': False})
    assert variants['one convolution a level'] == ({**network_d, 'num_conv': 1}, train)
    contents = [section['perceptual_opt'] for _, section in variants.values()]
    assert all(content == contents[0] for content in contents)


def test_report(tmp_path, capsys, monkeypatch):
    built = []
    from basicsr import models

    build_model = models.build_model
    monkeypatch.setattr(models, 'build_model', lambda opt: built.append(build_model(opt)) or built[-1])
    file = tmp_path / 'energy.json'
    benchmark.main(['--batch', '1', '--crop', '32', '--rounds', '2', '--threads', '1', '--json', str(file)])
    names = list(benchmark.variants(32, ''))
    shares = dict(zip(names, (getattr(model, 'cri_content', None) is not None for model in built), strict=True))
    assert shares == {name: 'SRGAN' != name != 'content loss only' and 'own' not in name for name in names}
    ratios = json.loads(file.read_text())['ratios']
    assert ratios['SRGAN'] == {'median': 1.0, 'quartiles': [1.0, 1.0]}
    assert all(low <= middle <= high for middle, (low, high) in map(dict.values, ratios.values()))
    assert 'own VGG pass' in capsys.readouterr().out
