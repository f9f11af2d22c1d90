"""The table of domain gaps: its rows, the networks between two sets, folders and LMDBs."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.matlab_functions import imresize
from finished_experiments import finished_experiment
from script_loader import load_script

from ext_data.preparation.lmdb_writer import Entry, write_lmdb

script = load_script('domain_gap')


@pytest.fixture(scope='module')
def sets(tmp_path_factory, demo_data) -> dict[str, Path]:
    """HR images and 'real' LR images of the same scenes, which are blurred; the latter also as LMDB."""
    root = tmp_path_factory.mktemp('gap')
    hr, real = root / 'hr', root / 'real'
    hr.mkdir()
    real.mkdir()
    for path in sorted((demo_data / 'val' / 'gt').iterdir()):
        image = cv2.imread(str(path))
        for number, half in enumerate((image[:, :143], image[:, 145:])):  # 143: no multiple of the scale
            cv2.imwrite(str(hr / f'{path.stem}_{number}.png'), half)
            soft = cv2.GaussianBlur(half[:, :140], (0, 0), 4)
            low = (imresize(soft.astype(np.float32) / 255, 0.25).clip(0, 1) * 255).round().astype(np.uint8)
            cv2.imwrite(str(real / f'{path.stem}_{number}.png'), low)
    entries = [Entry(path, 72, 35) for path in sorted(real.iterdir())]
    write_lmdb(root / 'real.lmdb', entries)
    return {'hr': hr, 'real': real, 'lmdb': root / 'real.lmdb'}


def experiment(root: Path, network: dict, grey: float = 0.0, **options: object) -> Path:
    """Of a network whose last layer gives one grey."""
    net = build_network(network)
    last = net.tail if network['type'] == 'DSGANGenerator' else net.body[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, grey)
    return finished_experiment(root / 'experiments' / network['type'], network, net, **options)


def run(*arguments: object) -> int:
    return script.main([*map(str, arguments), '--permutations', '19'])


def test_table_picture_and_figures(sets, tmp_path, capsys):
    picture, figures = tmp_path / 'new' / 'gap.png', tmp_path / 'other' / 'gap.json'
    status = run(
        '--hr', sets['hr'], '--real', sets['real'], '--scale', 4, '--lr', sets['lmdb'],
        '--output', picture, '--json', figures,
    )  # fmt: skip
    assert status == 0
    output = capsys.readouterr().out
    assert f'picture: {picture}' in output
    assert cv2.imread(str(picture)).shape[1] > 600
    rows = json.loads(figures.read_text())
    assert list(rows) == ['bicubic', str(sets['lmdb']), 'real, two halves']
    assert all(name in output for name in rows)
    bicubic, same, halves = rows.values()
    assert bicubic['top_band_db'] > 10  # the real ones are blurred
    assert bicubic['spectrum_db'] > 5
    assert bicubic['colour'] < 2
    assert (same['spectrum_db'], same['top_band_db'], same['colour'], same['p']) == (0, 0, 0, 1)
    assert 0 < halves['spectrum_db'] < 20


def test_networks_get_what_they_take(sets, tmp_path, capsys):
    """From HR or from bicubic LR; the output, with the noise of stage 1, is clipped and rounded like a file."""
    noisy = {'train': {'noise': 6.0, 'shot_noise': 0}}
    folders = [
        experiment(tmp_path, {'type': 'DegradationNet', 'num_feat': 4, 'scale': 4}),
        experiment(tmp_path, {'type': 'DSGANGenerator', 'num_feat': 4, 'num_block': 1}),
        experiment(tmp_path / 'noisy', {'type': 'DegradationNet', 'num_feat': 4, 'scale': 4}, 0.5, **noisy),
    ]
    figures = tmp_path / 'gap.json'
    status = run('--hr', sets['hr'], '--real', sets['real'], '--experiment', *folders, '--json', figures)
    assert status == 0, capsys.readouterr().err
    rows = json.loads(figures.read_text())
    assert list(rows) == ['bicubic', *map(str, folders), 'real, two halves']
    real = np.array([cv2.imread(str(path)).mean((0, 1)) for path in sets['real'].iterdir()]).mean(0)
    for folder, level in zip(folders, (0, 128), strict=False):  # black; sigmoid(0), rounded
        assert rows[str(folder)]['colour'] == pytest.approx(np.sqrt(((real - level) ** 2).mean()), abs=1e-4)
    assert rows[str(folders[2])]['noise'] == pytest.approx(6, rel=0.15)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--hr', '{hr}'], '--hr needs --scale'),
        ([], 'Nothing to compare'),
        (['--experiment', 'x'], '--experiment needs --hr'),
        (['--lr', 'absent'], 'absent: there is no such folder'),
        (['--lr', '{real}', '--images', '1'], 'must hold at least 2'),
    ],
)
def test_mistakes_are_explained(arguments, message, sets, capsys):
    filled = [argument.format(**sets) for argument in arguments]
    assert run('--real', sets['real'], *filled) == 1
    assert message in capsys.readouterr().err


def test_experiments_of_another_scale_and_damaged_images_are_named(sets, tmp_path, capsys):
    folder = experiment(tmp_path, {'type': 'DegradationNet', 'num_feat': 4, 'scale': 4})
    assert run('--hr', sets['hr'], '--real', sets['real'], '--experiment', folder, '--scale', 2) == 1
    assert 'scales [2, 4] cannot be mixed' in capsys.readouterr().err
    (tmp_path / 'broken.png').write_bytes(b'no image')
    assert run('--real', sets['real'], '--lr', tmp_path) == 1
    assert 'broken.png' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['bicubic', 'real', 'real, two halves'])
def test_a_set_called_as_a_row_does_not_take_its_place(sets, name, capsys):
    assert run('--lr', name, '--real', sets['real']) == 1
    assert f'{name} is the name of a row' in capsys.readouterr().err


@pytest.mark.parametrize('wrong', [('--output', 'gap.xyz'), ('--images', '0')])
def test_arguments_are_refused_before_the_work(sets, wrong, capsys):
    with pytest.raises(SystemExit):
        run('--lr', sets['real'], '--real', sets['real'], *wrong)
    assert f'argument {wrong[0]}: expected' in capsys.readouterr().err


def test_images_of_the_sets_are_spared(sets, capsys):
    image = min(sets['real'].iterdir())
    before = image.read_bytes()
    assert script.main(['--real', str(sets['real']), '--lr', str(sets['hr']), '--output', str(image)]) == 1
    assert 'is an image of the input' in capsys.readouterr().err
    assert image.read_bytes() == before
