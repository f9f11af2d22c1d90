"""The command that measures methods on test sets, on tiny images made here."""

import csv
from pathlib import Path

import benchmark_images
import pytest
from benchmark_images import argument, make_experiment, make_set
from script_loader import load_script

evaluate = load_script('evaluate')
fresh_caches = benchmark_images.fresh_caches


@pytest.fixture
def root(tmp_path) -> Path:
    make_set(tmp_path)
    make_experiment(tmp_path / 'exp')
    return tmp_path


def run(root: Path, *arguments: str, metrics: tuple[str, ...] = ('psnr',)) -> int:
    common = ['--set', argument(root), '--output', str(root / 'out'), '--processes', '1', '--crop', '16']
    threads = ['--threads-per-process', '1']
    return evaluate.main([*common, *threads, '--rounds', '0', '--metrics', *metrics, *arguments])


def rows(root: Path) -> dict[str, dict[str, str]]:
    with open(root / 'out' / 'results.csv', newline='') as file:
        return {row['method']: row for row in csv.DictReader(file)}


def test_writes_all_files_and_goes_on_where_it_was(root, capsys):
    assert run(root) == 0
    assert '4 images in 2 pairs of method and set, 4 to measure' in capsys.readouterr().out
    before = rows(root)
    assert before.keys() == {'bicubic', 'nearest'}
    assert run(root, '--method', str(root / 'exp'), '--literature', metrics=('psnr', 'ssim')) == 0
    printed = capsys.readouterr().out
    assert '8 images in 4 pairs of method and set, 8 to measure' in printed  # SSIM of four, both of the others
    after = rows(root)
    assert list(after) == ['bicubic', 'bicubic_literature', 'nearest', 'exp']
    assert after['nearest']['psnr'] == before['nearest']['psnr']
    assert 0 < float(after['exp']['ssim']) < 1
    assert int(after['exp']['parameters']) > 0
    assert {path.name for path in (root / 'out').iterdir()} == {
        'costs.json', 'images.csv', 'results.csv', 'results.html', 'results.md', 'results.png', 'runs'}  # fmt: skip
    assert run(root, '--method', str(root / 'exp'), metrics=('psnr', 'ssim')) == 0
    assert '6 images in 3 pairs of method and set, 0 to measure' in capsys.readouterr().out


def test_equal_images_are_infinitely_good_a_folder_has_no_time_and_damaged_costs_are_taken_anew(root):
    (root / 'out').mkdir()
    (root / 'out' / 'costs.json').write_text('{"exp')
    own = ['--method', f'same={root / "tiny_HR"}', str(root / 'exp'), '--rounds', '2']
    assert run(root, *own) == 0
    found = rows(root)
    assert found['same']['psnr'] == 'inf'
    assert (found['same']['seconds'], found['same']['megapixel']) == ('', '')
    assert float(found['exp']['seconds']) > 0
    assert int(found['exp']['parameters']) > 0
    assert '| same | inf |' in (root / 'out' / 'results.md').read_text()
    assert 'inf' in (root / 'out' / 'results.html').read_text()


def test_a_metric_that_fails_leaves_a_blank_and_the_status_1(root, monkeypatch, capsys):
    from basicsr.utils.registry import METRIC_REGISTRY

    def broken(**kwargs):
        raise RuntimeError('not today')

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_broken', broken)
    assert run(root, metrics=('broken', 'psnr')) == 1
    captured = capsys.readouterr()
    assert 'error: 4 values are missing' in captured.err
    assert 'bicubic, tiny, first, broken: RuntimeError: not today' in captured.err
    assert 'Traceback' not in captured.err
    assert rows(root)['bicubic']['broken'] == ''
    assert float(rows(root)['bicubic']['psnr']) > 10
    assert 'missing: bicubic, tiny, first, broken' in (root / 'out' / 'results.html').read_text()


def test_rgb_and_border_reach_the_metrics(root):
    run(root)
    luminance = rows(root)['nearest']['psnr']
    run(root, '--rgb')
    colour = rows(root)['nearest']['psnr']
    run(root, '--rgb', '--border', '0')
    assert len({luminance, colour, rows(root)['nearest']['psnr']}) == 3
    assert 'PSNR and SSIM are of RGB. Metrics leave out a border of 0 pixels.' in (
        root / 'out' / 'results.md').read_text()  # fmt: skip


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--method', 'nowhere.pth'], 'there is no nowhere.pth'),
        (['--method', 'a=exp', 'a=exp'], "two methods are called 'a'"),
        (['--method', 'bicubic=exp'], "two methods are called 'bicubic'"),
        (['--metrics', 'beauty'], "there is no metric 'beauty'"),
        (['--set', 'x=none:none'], 'there is no folder none'),
        (['--crop', '400'], '--crop lies in none of the images'),
        (['--border', '200'], '--border must be at most'),
        (['--rgb', '--literature'], '--literature is a figure of luminance'),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(root, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(root)
    assert run(root, *arguments) == 1
    assert message in capsys.readouterr().err
    for malformed in ('--crop=1,2', '--crop=0', '--rounds=1', '--processes=0', '--border=-1', '--pictures=-1'):
        with pytest.raises(SystemExit):
            run(root, malformed)
        assert 'expected' in capsys.readouterr().err
    assert not (root / 'out').exists()


def test_processes_fill_the_machine_unless_they_are_given(root, monkeypatch):
    from ext_core.use import benchmark

    seen = []

    def stop(self, *numbers):
        seen.append(numbers)
        raise KeyboardInterrupt

    monkeypatch.setattr('torch.set_num_threads', lambda number: None)
    monkeypatch.setattr(benchmark, 'default_processes', lambda: (3, 2))
    monkeypatch.setattr(benchmark.Benchmark, 'run', stop)
    command = ['--set', argument(root), '--output', str(root / 'out'), '--metrics', 'psnr']
    for given in ([], ['--processes', '1'], ['--threads-per-process', '1']):
        assert evaluate.main([*command, *given]) == 130
    assert seen == [(3, 2), (1, 2), (3, 1)]


def test_ctrl_c_keeps_what_is_done(root, monkeypatch, capsys):
    from ext_core.use.methods import Nearest

    def stop(self, place):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Nearest, 'render', stop)
        assert run(root) == 130
    assert 'repeat the command' in capsys.readouterr().err
    assert run(root) == 0
    assert '4 images in 2 pairs of method and set, 2 to measure' in capsys.readouterr().out
