"""The benchmark builds equal work for both sides and reports ratios; nothing here is about time."""

import json

import pytest

from studies import benchmark_step as benchmark


@pytest.fixture(autouse=True)
def small(monkeypatch):
    tiny = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 4}
    monkeypatch.setitem(benchmark.GENERATORS, 'MSRResNet', tiny)
    monkeypatch.setitem(benchmark.DISCRIMINATOR, 'num_feat', 2)


def test_both_sides_have_the_same_networks_and_losses():
    models = benchmark.build('MSRResNet', perceptual=False)
    assert [type(models[name]).__name__ for name in benchmark.VARIANTS] == ['ESRGANModel', 'GANSRModel', 'GANSRModel']
    assert len(models['ours'].views) == 0
    assert len(models['ours + mask'].views) == 1
    for name in ('net_g', 'net_d'):
        counts = {sum(p.numel() for p in getattr(model, name).parameters()) for model in models.values()}
        assert len(counts) == 1


def test_report(tmp_path, capsys):
    figures = tmp_path / 'step.json'
    benchmark.main(['--case', 'MSRResNet', '--rounds', '3', '--batch', '1', '--threads', '1', '--json', str(figures)])
    assert 'MSRResNet' in capsys.readouterr().out
    (result,) = json.loads(figures.read_text())
    assert result['ours / basicsr']['median'] > 0
    low, high = result['masked / unmasked']['quartiles']
    assert 0 < low <= result['masked / unmasked']['median'] <= high
