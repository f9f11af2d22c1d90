"""Figures of curves that are known: written as training writes them, read back, divergence, spreads, quarters."""

import math
import time
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from ext_core.networks.records import read_curves
from studies import gan_stability
from studies.divergence import Course, Divergence, divergence, figures, gradient_curves, output_gap, stopped_by

PSNR = 'metrics/Set5/psnr'
COURSE = Course(total_iter=800)


def write(folder: Path, curves: dict[str, dict[int, float]]) -> None:
    """An event file of its own, as a training or its resumption leaves it."""
    with SummaryWriter(str(folder)) as writer:
        for tag, curve in curves.items():
            for step, value in curve.items():
                writer.add_scalar(tag, value, step)


# ---------------------------------------------------------------------- curves
def test_curves_are_read_by_name(tmp_path):
    write(tmp_path, {'losses/l_g_gan': {1: 0.5, 2: 0.25}, 'out_d_real': {2: 1.5}, PSNR: {2: 24.0}})
    assert read_curves(tmp_path) == {'l_g_gan': {1: 0.5, 2: 0.25}, 'out_d_real': {2: 1.5}, PSNR: {2: 24.0}}
    assert read_curves(tmp_path / 'absent') == {}


def test_resumed_run_overwrites_what_overlaps(tmp_path):
    write(tmp_path, {PSNR: {100: 20.0, 200: 21.0, 300: 22.0}, 'only_first': {300: 1.0}})
    first = next(tmp_path.iterdir())
    time.sleep(0.01)
    write(tmp_path, {PSNR: {300: 22.5, 200: 21.5, 400: 23.0}})
    second = next(path for path in tmp_path.iterdir() if path != first)
    # whatever the files are called: their times decide, not their names
    first.rename(tmp_path / 'events.out.tfevents.9')
    second.rename(tmp_path / 'events.out.tfevents.1')
    curve = read_curves(tmp_path)[PSNR]
    assert list(curve.items()) == [(100, 20.0), (200, 21.5), (300, 22.5), (400, 23.0)]


def test_more_points_than_tensorboard_keeps(tmp_path):
    write(tmp_path, {'l_pix': dict.fromkeys(range(10500), 1.0)})
    assert len(read_curves(tmp_path)['l_pix']) == 10500


# ---------------------------------------------------------------------- divergence
@pytest.mark.parametrize(
    ('curves', 'expected'),
    [
        ({'l_g_gan': {10: 1.0, 20: math.nan, 30: math.nan}}, Divergence(20, 'l_g_gan not finite')),
        ({'out_d_real': {10: math.inf}}, Divergence(10, 'out_d_real not finite')),
        ({PSNR: {10: 24.0, 20: 25.0, 30: 22.0, 40: 21.5}}, Divergence(40, 'PSNR on Set5 21.50 dB after 25.00 dB')),
        ({PSNR: {10: 24.0, 20: 20.0, 30: 26.0}}, Divergence(20, 'PSNR on Set5 20.00 dB after 24.00 dB')),
        ({PSNR: {10: math.nan}}, Divergence(10, 'PSNR on Set5 nan dB')),
        ({PSNR: {10: 24.0, 30: 20.0}, 'l_d_real': {20: math.inf}}, Divergence(20, 'l_d_real not finite')),
        ({PSNR: {10: 24.0, 20: 25.0, 30: 22.0}}, None),  # exactly 3 dB
        ({'metrics/Set5/niqe': {10: math.nan}, 'gap/Set5/mmd': {10: math.nan}}, None),  # no sign of divergence
        ({}, None),
    ],
)
def test_divergence(curves, expected):
    assert divergence(curves, COURSE) == expected


def test_divergence_on_any_set_and_by_any_drop():
    curves = {PSNR: {10: 24.0, 20: 23.0}, 'metrics/Set14/psnr': {10: 24.0, 20: 22.5}}
    assert divergence(curves, COURSE) is None
    course = Course(total_iter=800, drop=1.0)
    assert divergence(curves, course) == Divergence(20, 'PSNR on Set14 22.50 dB after 24.00 dB')


def test_psnr_of_the_first_phase_is_meant_to_be_given_up():
    curves = {PSNR: {100: 30.0, 200: 26.0, 300: 25.0}}
    assert divergence(curves, COURSE) == Divergence(200, 'PSNR on Set5 26.00 dB after 30.00 dB')
    assert divergence(curves, Course(total_iter=800, alone_iters=100)) is None
    assert figures(curves, Course(total_iter=800, alone_iters=100))['psnr_best_minus_last:Set5'] == 1.0


def test_what_ended_the_training():
    log = 'env\nerror: Iteration 40: loss l_d_fake, l_g_gan is not finite, so training stops here; ...\n'
    found = stopped_by(log)
    assert found == Divergence(40, 'l_d_fake, l_g_gan not finite')
    assert stopped_by('RuntimeError: out of memory') is None
    assert divergence({}, COURSE, found) == found
    assert divergence({PSNR: {10: 24.0, 20: 20.0}}, COURSE, found).iteration == 20  # the first sign counts


# ---------------------------------------------------------------------- figures
def test_spread_of_the_validations_in_the_tail():
    curves = {PSNR: {200: 10.0, 400: 27.0, 600: 24.0, 800: 26.0}}
    result = figures(curves, COURSE)
    assert result['psnr_last:Set5'] == 26.0
    assert result['psnr_best_minus_last:Set5'] == 1.0
    assert result['psnr_std:Set5'] == pytest.approx(math.sqrt(2))  # of 24 and 26, n - 1
    whole = figures({PSNR: {400: 27.0, 600: 24.0, 800: 27.0}}, Course(total_iter=800, tail=1.0))
    assert whole['psnr_std:Set5'] == pytest.approx(math.sqrt(3))
    assert figures(curves, Course(total_iter=800, tail=0.25))['psnr_std:Set5'] is None  # one validation


def test_adversarial_gradient_over_quarters():
    norms = {100: 1.0, 200: 3.0, 300: 50.0, 600: 50.0, 700: 6.0, 800: 10.0}
    result = figures({'grad_gan': norms, 'grad_percep': dict.fromkeys(norms, 4.0)}, COURSE)
    assert [result[f'grad_gan_{key}'] for key in ('first', 'last', 'ratio')] == [2.0, 8.0, 4.0]
    assert [result[f'gan_share_{key}'] for key in ('first', 'last', 'ratio')] == [0.5, 2.0, 4.0]
    tail = [50.0, 6.0, 10.0]  # after iteration 400
    std = math.sqrt(sum((value - 22.0) ** 2 for value in tail) / 2)
    assert result['grad_gan_cv'] == pytest.approx(std / 22.0)
    assert result['gan_share_cv'] == pytest.approx(std / 22.0)


def test_quarters_are_those_of_the_adversarial_phase():
    course = Course(total_iter=800, alone_iters=400)
    curves = {'grad_gan': {500: 2.0, 600: 9.0, 700: 9.0, 800: 3.0}}
    result = figures(curves, course)
    assert (result['grad_gan_first'], result['grad_gan_last'], result['grad_gan_ratio']) == (2.0, 3.0, 1.5)


def test_run_that_ended_early_never_came_to_its_last_quarter():
    result = figures({'grad_gan': {100: 2.0, 200: 4.0, 300: math.inf}}, COURSE)
    assert (result['grad_gan_first'], result['grad_gan_last'], result['grad_gan_ratio']) == (3.0, None, None)
    assert (result['diverged'], result['diverged_at']) == ('yes', 300)


def test_share_is_of_all_other_losses():
    curves = {'grad_gan': {1: 3.0, 2: 3.0}, 'grad_percep': {1: 4.0, 2: 0.0}, 'grad_pix': {1: 2.0, 2: 0.0}}
    assert gradient_curves(curves, COURSE)['gan_share'] == {1: 0.5}
    assert gradient_curves({'grad_gan': {1: 3.0}}, COURSE)['gan_share'] == {}


def test_norm_that_is_logged_again_counts_once():
    """With log_gradient_norms: 300 and print_freq: 100."""
    course = Course(total_iter=800, gradients_every=300)
    curves = {'grad_gan': {300: 1.0, 400: 1.0, 500: 1.0, 600: 2.0, 700: 2.0, 800: 2.0}}
    assert gradient_curves(curves, course)['grad_gan'] == {300: 1.0, 600: 2.0}


def test_gap_of_the_outputs():
    assert output_gap({'out_d_real': {1: 2.0, 2: 1.0}, 'out_d_fake': {1: -1.0, 3: 0.0}}) == {1: 3.0}


def test_training_without_an_opponent_has_blanks():
    result = figures({'l_pix': {800: 0.1}, 'grad_pix': {800: 1.0}, PSNR: {400: 24.0, 800: 25.0}}, COURSE)
    assert result['diverged'] == 'no'
    assert result['psnr_last:Set5'] == 25.0
    blank = [f'{key}_{part}' for key in ('grad_gan', 'gan_share') for part in ('first', 'last', 'ratio', 'cv')]
    assert [result[key] for key in blank] == [None] * 8
    assert figures({}, Course(total_iter=800, psnr=None)) == dict.fromkeys(blank) | {
        'diverged': 'no', 'diverged_at': None, 'reason': None
    }  # fmt: skip


def test_course_of_an_option_file():
    opt = {
        'train': {'total_iter': 400, 'pretrain_iters': 100, 'autoencoder_iters': 20, 'log_gradient_norms': 50},
        'val': {'metrics': {'ssim': {'type': 'calculate_ssim'}, 'y': {'type': 'calculate_psnr'}}},
    }
    assert Course.of(opt, 0.25, 2.0) == Course(400, 120, 50, 'y', 0.25, 2.0)
    assert Course.of({'train': {'total_iter': 4e2, 'log_gradient_norms': None}}, 0.5, 3.0) == Course(400, psnr=None)


# ---------------------------------------------------------------------- table and plot
def rows() -> list[dict]:
    run = {'diverged': 'no', 'diverged_at': None, 'reason': None, 'iterations': 800, 'seconds': 1.0, 'options': 'x'}
    return [
        {'recipe': 'gan', 'seed': 0, **run, 'psnr_last:Set5': 24.0, 'grad_gan_ratio': 2.0},
        {'recipe': 'gan', 'seed': 1, **run, 'psnr_last:Set5': 26.0, 'grad_gan_ratio': None, 'diverged': 'yes'},
        {'recipe': 'plain', 'seed': 0, **run, 'psnr_last:Set5': 25.0, 'grad_gan_ratio': None},
    ]


def test_over_seeds():
    gan, plain = gan_stability.over_seeds(rows())
    assert (gan['recipe'], gan['seeds'], gan['diverged'], gan['divergence_rate']) == ('gan', [0, 1], 1, 0.5)
    assert gan['figures']['psnr_last:Set5'] == {
        'mean': 25.0, 'std': pytest.approx(math.sqrt(2)), 'values': [24.0, 26.0]
    }  # fmt: skip
    assert plain['divergence_rate'] == 0.0
    assert list(plain['figures']) == ['psnr_last:Set5']


def test_table_has_a_column_for_each_recipe():
    assert gan_stability.table(gan_stability.over_seeds(rows())).splitlines() == [
        '|  | gan | plain |',
        '| --- | --- | --- |',
        '| diverged | 1 of 2 | 0 of 1 |',
        '| psnr_last:Set5 | 25 ± 1.4 | 25 |',
        '| grad_gan_ratio | 2 (1) | – |',
    ]


def drawn(path: Path, monkeypatch, lines: list[gan_stability.Line]) -> list:
    """The panels of a plot."""
    from matplotlib import pyplot as plt

    kept: list = []
    monkeypatch.setattr(plt, 'close', kept.append)
    gan_stability.plot(lines, path)
    monkeypatch.undo()
    panels = kept[0].axes if kept else []
    for figure in kept:
        plt.close(figure)
    return panels


def test_plot(tmp_path, monkeypatch):
    gan = {PSNR: {1: 24.0, 2: 26.0}, 'grad_gan': {1: 1.0, 2: 2.0}, 'out_d_real': {1: 1.0}, 'out_d_fake': {1: 0.5}}
    short = {**gan, PSNR: {1: 20.0}}
    plain = {PSNR: {1: 25.0, 2: 25.5}}
    runs = [('gan', gan, None), ('gan', short, 1), ('plain', plain, None)]
    lines = [gan_stability.Line(recipe, curves, COURSE, at) for recipe, curves, at in runs]
    psnr, norm, gap = drawn(tmp_path / 'plot.png', monkeypatch, lines)
    assert (tmp_path / 'plot.png').stat().st_size > 0
    assert psnr.get_title() == 'validation PSNR on Set5, dB'
    assert (psnr.get_yscale(), norm.get_yscale()) == ('linear', 'log')
    # two seeds, a cross where one diverged, their mean while both go on; and the other recipe with its mean
    assert [list(line.get_ydata()) for line in psnr.lines] == [
        [24.0, 26.0], [20.0], [20.0], [22.0], [25.0, 25.5], [25.0, 25.5]
    ]  # fmt: skip
    assert len({line.get_color() for line in psnr.lines}) == 2
    assert [list(line.get_ydata()) for line in gap.lines] == [[0.5], [0.5], [0.5], [0.5]]


def test_nothing_to_draw(tmp_path):
    gan_stability.plot([gan_stability.Line('plain', {}, COURSE, None)], tmp_path / 'plot.png')
    assert not (tmp_path / 'plot.png').exists()
