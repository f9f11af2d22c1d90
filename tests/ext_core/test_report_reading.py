"""What a report reads of trainings: curves, logs and options, whole and damaged."""

import math
import os

import pytest
from report_experiments import make_experiment, options, step_line, validation_lines, write_curves

from ext_core.errors import UserError
from ext_core.networks.records import read_logs
from ext_core.use.experiments import heading_of, option_table, plots_of, read_experiments
from ext_core.use.report_page import duration
from ext_core.use.report_pictures import sources

START = '2026-01-02 03:04:00,000 INFO: Start training from epoch: 0, iter: {}\n'
END = '2026-01-02 03:05:30,000 INFO: End of training. Time consumed: 90 s\n'


def read(folder):
    return read_experiments([folder])[0]


def age(folder, seconds: int = 3600) -> None:
    """As if it had been written long ago."""
    for path in folder.rglob('*'):
        os.utime(path, (path.stat().st_mtime - seconds,) * 2)


# ---------------------------------------------------------------------- logs
def test_log_gives_losses_rates_validations_and_time(tmp_path):
    log = START.format(0) + step_line(10, 10, '2.000e-04', 'l_pix: 1.5000e-01 l_g_gan: nan')
    log += step_line(1000, 20, '1.000e-04,5.000e-05', 'l_pix: inf') + validation_lines(
        'Set 5', 'psnr: 30.5, lpips: 0.2'
    )
    found = read_logs(make_experiment(tmp_path, 'a', log=log + END), 500)
    assert found.curves['l_pix'] == {10: 0.15, 1000: math.inf}
    assert math.isnan(found.curves['l_g_gan'][10])
    assert found.curves['lr'] == {10: 2e-4, 1000: 1e-4}
    assert found.curves['lr_1'] == {1000: 5e-5}
    assert found.curves['metrics/Set 5/psnr'] == {1000: 30.5}
    assert found.curves['metrics/Set 5/lpips'] == {1000: 0.2}
    assert (found.seconds, found.finished) == (90.0, True)


def test_validations_between_printed_iterations_are_counted(tmp_path):
    two = validation_lines('S', 'psnr: 1') + validation_lines('S', 'psnr: 2')
    log = START.format(0) + two + step_line(100, 10, '1e-4', 'l_pix: 1') + validation_lines('S', 'psnr: 3')
    assert read_logs(make_experiment(tmp_path, 'a', log=log), 40).curves['metrics/S/psnr'] == {40: 1, 80: 2, 120: 3}


def test_resumed_log_replaces_what_was_trained_again(tmp_path):
    log = START.format(0) + ''.join(step_line(n, n, '1e-4', f'l_pix: {n}') for n in (10, 20, 30))
    folder = make_experiment(tmp_path, 'a', log=log)
    later = START.format(10) + step_line(25, 30, '1e-4', 'l_pix: 99') + END
    (folder / 'train_a_20260102_040000.log').write_text(later)
    found = read_logs(folder, None)
    assert found.curves['l_pix'] == {10: 10.0, 25: 99.0}
    assert found.seconds == 30 + 90
    assert found.files == 2


# ---------------------------------------------------------------------- experiments
def test_tensorboard_counts_and_the_log_adds_learning_rate(tmp_path):
    log = START.format(0) + step_line(10, 10, '2e-4', 'l_pix: 1.2346e-01') + END
    folder = make_experiment(tmp_path, 'a', options('a'), log)
    write_curves(tmp_path / 'tb_logger' / 'a', {'losses/l_pix': {10: 0.123456}, 'metrics/S/psnr': {20: 30, 40: 29}})
    experiment = read(folder)
    assert experiment.curves['l_pix'] == {10: pytest.approx(0.123456, rel=1e-7)}
    assert experiment.curves['lr'] == {10: 2e-4}
    assert experiment.notes == []
    assert (experiment.done, experiment.total, experiment.state) == (40, 40, 'finished')


def test_resumed_tensorboard_has_no_doubles(tmp_path):
    folder = make_experiment(tmp_path, 'a', options('a'), START.format(0) + END)
    write_curves(tmp_path / 'tb_logger' / 'a', {'losses/l_pix': {10: 1, 20: 2, 30: 3}})
    write_curves(tmp_path / 'tb_logger' / 'a', {'losses/l_pix': {20: 5}}, purge_step=11)
    assert read(folder).curves['l_pix'] == {10: 1.0, 20: 5.0}


def test_damaged_event_file_is_completed_from_the_log_and_said(tmp_path):
    lines = [step_line(n, n, '1e-4', f'l_pix: {n}.5') for n in (10, 20, 30)]
    folder = make_experiment(tmp_path, 'a', options('a'), START.format(0) + ''.join(lines) + END)
    write_curves(tmp_path / 'tb_logger' / 'a', {'losses/l_pix': {10: 1, 20: 2, 30: 3}})
    (file,) = (tmp_path / 'tb_logger' / 'a').iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    experiment = read(folder)
    assert experiment.curves['l_pix'] == {10: 1.0, 20: 2.0, 30: 30.5}
    assert [
        'Values that are from the log instead, where they have five digits: 1.' in note for note in experiment.notes
    ] == [True]
    file.write_bytes(b'no events')
    experiment = read(folder)
    assert experiment.curves['l_pix'] == {10: 10.5, 20: 20.5, 30: 30.5}
    assert ['these are from the log' in note for note in experiment.notes] == [True]


def test_running_and_stopped_trainings_are_told_apart(tmp_path):
    folder = make_experiment(tmp_path, 'a', options('a'), START.format(0) + step_line(10, 10, '1e-4', 'l_pix: 1'))
    assert read(folder).state == 'perhaps running'
    age(folder)
    experiment = read(folder)
    assert experiment.state == 'not finished'
    assert 'The training stopped at iteration 10 or later, before its end.' in experiment.notes


@pytest.mark.parametrize(
    'content', [None, b'name: [', b'- a list', b'\xff\xfe\x00', b'val: 3\ntrain: [1]\nnetwork_g: 7\n']
)
def test_missing_or_bad_option_file_leaves_the_rest(tmp_path, content):
    log = START.format(0) + step_line(20, 10, '1e-4', 'l_pix: 1') + validation_lines('S', 'psnr: 30') + END
    folder = make_experiment(tmp_path, 'a', log=log)
    if content is not None:
        (folder / 'a.yml').write_bytes(content)
    experiment = read(folder)
    assert experiment.curves['l_pix'] == {20: 1.0}
    assert experiment.figures() == {'S/psnr': (None, (20, 30.0))}
    assert experiment.parameters is None
    readable = content is not None and content.startswith(b'val')
    assert any('option' in note for note in experiment.notes) != readable


def test_a_folder_without_a_training_is_refused_alone_and_noted_among_others(tmp_path):
    empty = make_experiment(tmp_path, 'empty')
    with pytest.raises(UserError, match='There is no training in'):
        read_experiments([empty])
    good = make_experiment(tmp_path, 'good', options('good'))
    assert read_experiments([good, empty])[1].notes
    with pytest.raises(UserError, match='is no folder'):
        read_experiments([tmp_path / 'none'])
    with pytest.raises(UserError, match='named twice'):
        read_experiments([good, tmp_path / 'experiments' / '..' / 'experiments' / 'good'])


def test_equal_names_get_their_projects(tmp_path):
    folders = [make_experiment(tmp_path / project, 'a', options('a')) for project in ('x', 'y')]
    assert [entry.name for entry in read_experiments(folders)] == ['x/experiments/a', 'y/experiments/a']


# ---------------------------------------------------------------------- figures and options
def test_best_and_last_follow_the_metrics_direction(tmp_path):
    folder = make_experiment(tmp_path, 'a', options('a'), START.format(0) + END)
    curves = {'psnr': {20: 28, 40: 31, 60: 30}, 'lpips': {20: 0.5, 40: 0.25, 60: math.nan}, 'else': {20: 1}}
    write_curves(tmp_path / 'tb_logger' / 'a', {f'metrics/S/{name}': curve for name, curve in curves.items()})
    experiment = read(folder)
    found = experiment.figures()
    assert found['S/psnr'] == ((40, 31.0), (60, 30.0))
    assert found['S/lpips'][0] == (40, 0.25)
    assert math.isnan(found['S/lpips'][1][1])
    assert found['S/else'] == (None, (20, 1.0))
    # MSRResNet of 4 features and one block, x4, by hand: 3-4, two of 4-4, two upsamplings 4-16, 4-4, 4-3
    assert experiment.parameters == 9 * (12 + 2 * 16 + 2 * 64 + 16 + 12) + 4 + 8 + 32 + 4 + 3
    assert duration(3725) == '1:02:05'


def test_only_options_that_differ_are_listed_as_different():
    first = {'name': 'a', 'x': {'lr': 1e-4, 'same': None, 'betas': [0.9, 1]}, 'seed': 0}
    second = {'name': 'b', 'x': {'lr': 1e-4, 'more': {}, 'same': None, 'betas': [0.9, 2]}, 'seed': 0, 'y': None}
    lines = option_table([first, second])
    assert [key for key, _ in lines] == ['x:lr', 'x:same', 'x:betas', 'x:more', 'seed', 'y']
    different = [(key, values) for key, values in lines if len(set(values)) > 1]
    assert different == [('x:betas', ['[0.9, 1]', '[0.9, 2]']), ('x:more', ['–', '{}']), ('y', ['–', '~'])]
    assert dict(lines)['x:same'] == ['~', '~']


@pytest.mark.parametrize(('tag', 'group'), [
    ('l_pix', 'Losses of the generator'), ('l_d_gp', 'Losses of the discriminator'), ('energy_gap', 'Energies'),
    ('metrics/Set5/psnr', 'Validation'), ('metrics/N/mmd', 'Maximum mean discrepancy'), ('mask_mean', 'Mask'),
    ('gap/N/generated_colour', 'Gap to real images'), ('lr', 'Learning rate'), ('lr_1', 'Learning rate'),
    ('grad_gan', 'Norms of gradients'), ('out_d_real', "Discriminator's outputs"), ('lrx', 'Others'),
])  # fmt: skip
def test_tags_come_under_their_headings(tag, group):
    assert heading_of(tag) == group
    (plots,) = plots_of([{}, {tag: {1: 2.0}}]).values()
    assert plots == {tag: {1: {1: 2.0}}}


# ---------------------------------------------------------------------- links


def test_links_to_nothing_are_named(tmp_path):
    folder = make_experiment(tmp_path, 'a', options('a'), log=START.format(0) + step_line(10, 10, '1e-4', 'l_pix: 1'))
    curves = tmp_path / 'tb_logger' / 'a'
    write_curves(curves, {'losses/l_pix': {10: 0.25}})
    (folder / 'visualization' / 'cat').mkdir(parents=True)
    lost = [folder / 'train_a_20260103_030405.log', folder / 'visualization' / 'cat' / 'cat_5.png',
            curves / 'events.out.tfevents.9']  # fmt: skip
    for path in lost:
        path.symlink_to('nowhere')
    experiment = read(folder)
    assert experiment.curves['l_pix'] == {10: 0.25}
    assert sources([experiment], 4) == {}
    (note,) = [note for note in experiment.notes if 'links to what is not there' in note]
    assert all(str(path) in note for path in lost)
    (folder / 'a.yml').unlink()
    (folder / 'a.yml').symlink_to('nowhere')
    assert any('no option file' in note for note in read(folder).notes)
    (folder.parent / 'b').symlink_to('nowhere')
    with pytest.raises(UserError, match='b is a link to what is not there'):
        read(folder.parent / 'b')
