"""Means, spreads, tables and plots of made-up results."""

import csv
import math

import pytest

from ext_core.studies import report as study_report

METRICS = {'psnr': {'type': 'calculate_psnr'}, 'niqe': {'type': 'calculate_niqe', 'better': 'lower'}}


def row(setting: str, seed: int, psnr: float, niqe: float | None, b: float | None = None, **more) -> dict:
    own = {'recipe': 'r', 'setting': setting, 'seed': seed, 'set': 'Set5', 'b': b, 'psnr': psnr, 'niqe': niqe}
    return {**own, **more}


ROWS = [
    row('no_mask', 0, 26.0, 8.0),
    row('k0.2_b0.5', 0, 27.0, None, b=0.5),
    row('k0.2_b0.25', 0, 25.0, 7.0, b=0.25),
    row('no_mask', 1, 28.0, 9.0),
    row('k0.2_b0.5', 1, 27.0, 9.0, b=0.5),
]


def entry(setting: str) -> dict:
    return next(e for e in study_report.summarise(ROWS, list(METRICS)) if e['setting'] == setting)


def test_mean_of_what_is_there():
    assert study_report.mean([1.0, None, 2.0]) == 1.5
    assert study_report.mean([None]) is None


def test_summary_over_seeds():
    assert [e['setting'] for e in study_report.summarise(ROWS, list(METRICS))] == ['no_mask', 'k0.2_b0.5', 'k0.2_b0.25']
    baseline = entry('no_mask')
    assert baseline['seeds'] == [0, 1]
    assert baseline['metrics']['psnr'] == {'mean': 27.0, 'std': pytest.approx(math.sqrt(2)), 'values': [26.0, 28.0]}
    assert entry('k0.2_b0.5')['metrics']['niqe'] == {'mean': 9.0, 'std': None, 'values': [9.0]}


def test_sets_stay_together_in_the_order_of_the_rows():
    rows = [{**r, 'set': name} for r in ROWS for name in ('Set5', 'BSD100')]
    sets = [e['set'] for e in study_report.summarise(rows, ['psnr'])]
    assert sets == ['Set5'] * 3 + ['BSD100'] * 3


def test_markdown():
    summary = study_report.summarise(ROWS, list(METRICS))
    assert study_report.markdown(summary, ['psnr', 'niqe', 'absent']).splitlines() == [
        '| set | recipe | setting | seeds | psnr | niqe |',
        '| --- | --- | --- | --- | --- | --- |',
        '| Set5 | r | no_mask | 2 | 27.0000 ± 1.4142 | 8.5000 ± 0.7071 |',
        '| Set5 | r | k0.2_b0.5 | 2 | 27.0000 ± 0.0000 | 9.0000 |',
        '| Set5 | r | k0.2_b0.25 | 1 | 25.0000 | 7.0000 |',
    ]


def test_against_baseline_knows_which_way_is_better():
    summary = study_report.summarise(ROWS, list(METRICS))
    (sentence,) = study_report.against_baseline(summary, METRICS)
    assert sentence == 'Set5, r: settings at least as good as without mask: psnr 1 of 2, niqe 1 of 2'
    assert study_report.against_baseline([e for e in summary if e['setting'] != 'no_mask'], METRICS) == []


def test_csv_has_the_columns_of_all_rows(tmp_path):
    path = tmp_path / 'results.csv'
    study_report.write_csv([ROWS[0], {**ROWS[1], 'window': 7}], path)
    with open(path, newline='') as file:
        first, second = csv.DictReader(file)
    assert (first['window'], first['b'], first['psnr']) == ('', '', '26.0')
    assert (second['window'], second['b'], second['niqe']) == ('7', '0.5', '')


@pytest.fixture
def panels(monkeypatch) -> list:
    """The panels of the figures that are drawn."""
    from matplotlib import pyplot as plt

    drawn: list = []
    monkeypatch.setattr(plt, 'close', lambda figure: drawn.extend(figure.axes))
    return drawn


def test_plot_has_a_line_for_each_k_against_b(tmp_path, panels):
    other = [row('k0.4_b0.5', 0, 24.0, 6.0, b=0.5), row('k0.4_b0.25', 0, 23.0, 6.5, b=0.25)]
    study_report.plot(study_report.summarise([*ROWS, *other], list(METRICS)), METRICS, tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').read_bytes().startswith(b'\x89PNG')
    assert [axis.get_title() for axis in panels] == ['Set5, r: psnr ↑', 'Set5, r: niqe ↓']
    assert panels[0].get_legend_handles_labels()[1] == ['no mask', 'k0.2', 'k0.4']
    lines = {container.get_label(): container.lines[0] for container in panels[0].containers}
    assert lines['k0.2'].get_ydata().tolist() == [25.0, 27.0]  # b = 0.25, then 0.5
    assert lines['k0.4'].get_xdata() == pytest.approx([0.25, 0.5], abs=0.01)


def test_plot_without_several_b_has_a_point_for_each_setting(tmp_path, panels):
    rows = [row('as_is', seed, 25.0 + seed, 7.0, b=b, recipe=name)
            for name, b in (('plain', None), ('masked', 0.5), ('other', 0.25)) for seed in (0, 1)]  # fmt: skip
    study_report.plot(study_report.summarise(rows, list(METRICS)), METRICS, tmp_path / 'plot.png')
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ['plain', 'masked', 'other']
    assert [container.lines[0].get_ydata().item() for container in panels[0].containers] == [25.5] * 3


def test_nothing_to_plot(tmp_path):
    study_report.plot([], METRICS, tmp_path / 'plot.png')
    assert not (tmp_path / 'plot.png').exists()
