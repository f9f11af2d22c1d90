"""The command line of scripts/prepare_data.py."""

from pathlib import Path

import numpy as np
import pytest
from basicsr.data import build_dataset
from script_loader import load_script

from ext_data.preparation.images import bicubic_down, read_image, write_png


@pytest.fixture(scope='module')
def script():
    return load_script('prepare_data')


def write_noise(path, height, width):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith('.'))


def test_div2k_goes_to_the_default_places(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / 'unpacked'
    write_noise(root / 'DIV2K_train_HR' / '0001.png', 720, 480)
    write_noise(root / 'DIV2K_train_LR_bicubic' / 'X4' / '0001x4.png', 180, 120)
    write_noise(root / 'DIV2K_valid_HR' / '0801.png', 48, 64)
    write_noise(root / 'DIV2K_valid_LR_bicubic' / 'X4' / '0801x4.png', 12, 16)
    assert script.main(['--layout', 'DIV2K', '--root', str(root), '--lmdb', '--jobs', '1']) == 0
    made = tmp_path / 'datasets' / 'DIV2K'
    folders = ['train_HR_x4_sub', 'train_LR_bicubic_x4_sub', 'valid_HR_x4', 'valid_LR_bicubic_x4']
    assert names(made) == sorted(folders + [f'{folder}.lmdb' for folder in folders])
    assert names(made / folders[0]) == names(made / folders[1]) == ['0001_s001.png', '0001_s002.png']
    assert names(made / folders[2]) == names(made / folders[3]) == ['0801.png']
    assert '1 pairs, 0 of them finished before; 2 images each' in capsys.readouterr().out


def test_blurred_lr_replaces_that_of_the_set(script, tmp_path, capsys):
    write_noise(tmp_path / 'Set5' / 'HR' / 'baby.png', 32, 32)
    write_noise(tmp_path / 'Set5' / 'LR_bicubic' / 'X4' / 'babyx4.png', 8, 8)
    arguments = ['--layout', 'Set5', '--root', str(tmp_path / 'Set5'), '--output', str(tmp_path / 'out')]
    assert script.main([*arguments, '--blur', '1.6', '--lmdb']) == 0
    assert names(tmp_path / 'out') == ['HR_x4', 'HR_x4.lmdb', 'LR_blur1.6_x4', 'LR_blur1.6_x4.lmdb']
    hr = read_image(tmp_path / 'Set5' / 'HR' / 'baby.png')[0]
    made = read_image(tmp_path / 'out' / 'LR_blur1.6_x4' / 'baby.png')[0]
    assert np.array_equal(made, bicubic_down(hr, 4, 1.6))
    assert 'LR made by Gaussian blur of 1.6 HR pixels and MATLAB-style bicubic' in capsys.readouterr().out
    assert script.main([*arguments, '--blur', '2']) == 1
    assert 'Gaussian blur of 2.0 HR pixels, then bicubic' in capsys.readouterr().err


def test_what_is_passed_over_is_said(script, tmp_path, capsys):
    photos, soft = tmp_path / 'photos', tmp_path / 'soft'
    write_noise(photos / 'a.png', 32, 32)
    write_noise(photos / 'more' / 'b.png', 32, 32)
    write_noise(soft / 'ax4.png', 8, 8)
    write_noise(soft / 'other.png', 8, 8)
    for name in ('.hidden', *(f'{number}.heic' for number in range(6)), 'notes.txt'):
        (photos / name).touch()
    arguments = ['--hr', str(photos), '--output', str(tmp_path / 'out'), '--jobs', '1']
    assert script.main([*arguments, '--lr', str(soft), '--lr-name', '{name}x{scale}']) == 0
    said = [line.strip() for line in capsys.readouterr().out.splitlines() if 'passed over' in line]
    assert said == [
        f'passed over in {photos}: 1 x hidden files: .hidden',
        f'passed over in {photos}: 7 x files whose endings are not those of images that are read: 0.heic, 1.heic, '
        '2.heic, 3.heic, 4.heic, ...',
        f'passed over in {photos}: 1 x subfolders, which are not searched: more',
        f'passed over in {soft}: 1 x images that are not named {{name}}x4: other.png',
    ]
    (photos / 'a.png').unlink()
    assert script.main(arguments) == 1
    assert 'holds no images. There are 1 x hidden files' in capsys.readouterr().err


def test_folders_take_any_name_and_an_lmdb_lists_all_it_cannot_take(script, tmp_path, capsys):
    for name in ('日本', 'Brücke nachts', 'plain'):
        write_noise(tmp_path / 'photos' / f'{name}.png', 48, 64)
    out = tmp_path / 'out'
    arguments = ['--hr', str(tmp_path / 'photos'), '--output', str(out), '--jobs', '1']
    assert script.main([*arguments, '--lmdb']) == 1
    said = capsys.readouterr().err
    assert '2 names are not ASCII' in said
    assert '日本.png' in said
    assert 'Brücke nachts.png' in said
    assert 'leave --lmdb out' in said
    assert not out.exists()
    assert script.main(arguments) == 0
    assert len(names(out / 'HR_x4')) == 3
    section = {'type': 'PairedImageDataset', 'name': 'any', 'phase': 'val', 'scale': 4, 'io_backend': {'type': 'disk'}}
    folders = {'dataroot_gt': str(out / 'HR_x4'), 'dataroot_lq': str(out / 'LR_bicubic_x4')}
    stems = {Path(pair['gt_path']).stem for pair in build_dataset(section | folders)}
    assert stems == {'日本', 'Brücke_nachts', 'plain'}


def test_missing_set_says_where_it_is_published_and_what_is_expected(script, tmp_path, capsys):
    assert script.main(['--layout', 'Flickr2K', '--root', str(tmp_path / 'nowhere')]) == 1
    error = capsys.readouterr().err
    assert 'https://github.com/LimBee/NTIRE2017' in error
    assert 'Flickr2K_LR_bicubic/X4/<name>x4.*' in error
    assert not (tmp_path / 'nowhere').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'Give one of'),
        (['--layout', 'DIV2', '--root', '.'], 'Did you mean DIV2K'),
        (['--layout', 'DIV2K', '--root', '.', '--split', 'dev'], 'DIV2K has train, valid'),
        (['--hr', 'nowhere', '--output', 'out'], 'no such folder'),
        (['--hr', '.'], 'needs --output'),
        (['--hr', '.', '--output', 'out'], 'holds no images'),
        (['--hr', '.', '--output', 'out', '--lr', '.', '--lr-name', 'x4'], '--lr-name x4'),
        (['--hr', '.', '--output', 'out', '--lr-name', '{name}x4'], 'add --lr DIR'),
        (['--hr', '.', '--output', 'out', '--lr-at-hr-size'], 'add --lr DIR'),
        (['--hr', '.', '--output', 'out', '--split', 'train'], 'belong to --layout NAME'),
        (['--hr', '.', '--output', 'out', '--step', '16'], 'add --sub-images SIZE'),
        (['--hr', '.', '--output', 'out', '--lr', '.', '--blur', '1.6'], 'leave --lr'),
        (['--layout', 'RealSR', '--root', '.', '--blur', '1.6'], 'captured LR'),
        (['demo', '--blur', '1.6'], 'needs --layout or --hr'),
        (['demo', '--scale', '5'], 'not 5'),
    ],
)
def test_mistakes_are_explained(script, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert script.main(arguments) == 1
    assert message in capsys.readouterr().err


def test_an_output_folder_that_is_a_file_is_told(script, tmp_path, capsys):
    write_noise(tmp_path / 'photos' / 'a.png', 48, 64)
    (tmp_path / 'out').touch()
    assert script.main(['--hr', str(tmp_path / 'photos'), '--output', str(tmp_path / 'out'), '--jobs', '1']) == 1
    assert 'Not a directory' in capsys.readouterr().err


@pytest.mark.parametrize('wrong', [('--jobs', '0'), ('--sub-images', '-1')])
def test_numbers_out_of_range_are_refused(script, wrong, capsys):
    with pytest.raises(SystemExit):
        script.main(['--hr', 'photos', '--output', 'out', *wrong])
    assert f'argument {wrong[0]}: expected' in capsys.readouterr().err


def test_what_it_has_not_written_is_left_alone(script, tmp_path, capsys):
    write_noise(tmp_path / 'photos' / 'a.png', 48, 64)
    arguments = ['--hr', str(tmp_path / 'photos'), '--output', str(tmp_path), '--jobs', '1', '--lmdb']
    for mine in ('HR_x4/a.png', 'LR_bicubic_x4.lmdb/data.mdb'):
        (tmp_path / mine).parent.mkdir()
        (tmp_path / mine).write_bytes(b'mine')
        assert script.main(arguments) == 1
        assert f'{Path(mine).parent} was not written by this command' in capsys.readouterr().err
        assert (tmp_path / mine).read_bytes() == b'mine'
        (tmp_path / mine).unlink()
    for _ in range(2):  # empty folders are taken, and its own are known again
        assert script.main(arguments) == 0


def test_other_settings_name_what_was_made_before(script, tmp_path, capsys):
    write_noise(tmp_path / 'photos' / 'a.png', 48, 64)
    write_noise(tmp_path / 'small' / 'a.png', 12, 16)
    arguments = ['--hr', str(tmp_path / 'photos'), '--output', str(tmp_path / 'out'), '--jobs', '1']
    assert script.main([*arguments, '--lr', str(tmp_path / 'small')]) == 0
    capsys.readouterr()
    assert script.main(arguments) == 1
    message = capsys.readouterr().err
    assert f'delete this file and what was made: {tmp_path / "out" / "HR_x4"}' in message
    assert str(tmp_path / 'out' / 'LR_x4') in message
