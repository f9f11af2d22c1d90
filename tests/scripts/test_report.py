"""The script that makes a report, from the command line on."""

import pytest
from report_experiments import make_experiment, options, save_picture, step_line
from script_loader import load_script

report = load_script('report')
LOG = '2026-01-02 03:04:00,000 INFO: Start training from epoch: 0, iter: 0\n'
LOG += ''.join(step_line(n, n, '2.000e-04', f'l_pix: {n}.0e-02') for n in (10, 20))


@pytest.fixture
def folders(tmp_path) -> list[str]:
    found = []
    for seed, name in enumerate(('first', 'second')):
        folder = make_experiment(tmp_path, name, options(name, manual_seed=seed), LOG)
        for image in ('cat', 'dog'):
            save_picture(folder / 'visualization' / image / f'{image}_20.png', seed)
        found.append(str(folder))
    return found


def test_page_and_plots_are_written(folders, tmp_path, capsys):
    output, plots = tmp_path / 'page.html', tmp_path / 'plots'
    assert report.main([*folders, '--output', str(output), '--plots', str(plots), '--title', 'x < y']) == 0
    text = output.read_text(encoding='utf-8')
    assert '<title>x &lt; y</title>' in text
    assert text.count('<figure class="compare"') == 2
    assert sorted(path.name for path in plots.iterdir()) == ['learning_rate.png', 'losses_of_the_generator.png']
    captured = capsys.readouterr()
    assert f'{output}: ' in captured.out
    assert '2 images' in captured.out
    assert 'note: first: There are no curves in TensorBoard files' in captured.err


def test_limits_of_pictures_are_taken_and_said(folders, tmp_path, capsys):
    output = tmp_path / 'page.html'
    assert report.main([*folders, '--output', str(output), '--images', '1', '--crop', '8']) == 0
    assert '8 × 8 pixels' in output.read_text(encoding='utf-8')
    assert '1 of 2 images are left out: --images 1.' in capsys.readouterr().err
    assert report.main([*folders, '--output', str(output), '--images', '0']) == 0
    assert 'id="pictures"' not in output.read_text(encoding='utf-8')


@pytest.mark.parametrize(('arguments', 'message'), [
    (['{empty}'], 'There is no training in'),
    (['{first}', '--output', '{empty}'], '--output'),
    (['{first}', '--plots', '{first}/first.yml'], '--plots'),
])  # fmt: skip
def test_bad_input_is_explained_and_nothing_is_written(folders, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    empty = make_experiment(tmp_path, 'empty')
    assert report.main([text.format(first=folders[0], empty=empty) for text in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert not (tmp_path / 'report.html').exists()
