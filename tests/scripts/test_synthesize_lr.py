"""Synthesized pairs: the right pixels, fitting pairs, exact resuming, several processes, nothing overwritten."""

import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from finished_experiments import finished_experiment
from processes import on_processes
from script_loader import load_script

from ext_core.atomic import sum_of
from ext_core.use import synthesis
from ext_core.use.evaluation import load_experiment
from ext_data.preparation.lmdb_writer import Entry, write_lmdb
from ext_models.degrading import low_resolution

NETWORK = {'type': 'DegradationNet', 'num_feat': 4, 'scale': 4}
SIZES = {'a': (48, 64), 'b': (72, 40), 'c.1': (32, 32)}  # height, width; the last one's key is c_1


@pytest.fixture(autouse=True)
def gpu_is_hidden(monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')


@pytest.fixture
def stage1(tmp_path) -> Path:
    """A finished experiment of stage 1."""
    return make_experiment(tmp_path / 'stage1', seed=0)


def make_experiment(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    net = build_network(NETWORK)
    torch.nn.init.constant_(net.body[-1].bias, 0.5)
    return finished_experiment(folder, NETWORK, net)


@pytest.fixture
def hr(tmp_path) -> Path:
    """A folder of HR images."""
    folder = tmp_path / 'hr'
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, size in SIZES.items():
        cv2.imwrite(str(folder / f'{name}.png'), generator.integers(0, 256, (*size, 3), dtype=np.uint8))
    return folder


def run(stage1: Path, hr: Path, *arguments: object) -> int:
    return load_script('synthesize_lr').main(
        ['--experiment', str(stage1), '--hr', str(hr), '--device', 'cpu', *map(str, arguments)]
    )


def stored(folder: Path) -> dict[str, np.ndarray]:
    """Images of an LMDB, read from a copy: this process may have it open, or one that was in its place."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        with lmdb.open(copy, readonly=True, lock=False) as environment, environment.begin() as transaction:
            found = {key.decode(): np.frombuffer(value, np.uint8) for key, value in transaction.cursor()}
    return {key: cv2.imdecode(value, -1) for key, value in found.items()}


def expected(stage1: Path, path: Path) -> np.ndarray:
    """The LR image of an HR file, uint8 BGR, by the plain path."""
    degrader = load_experiment(stage1)
    image = cv2.imread(str(path))
    image = image[: image.shape[0] // 4 * 4, : image.shape[1] // 4 * 4]
    gt = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    lr = low_resolution(degrader.net, gt, 4)[0].permute(1, 2, 0).mul(255).round().byte().numpy()
    return lr[..., ::-1]


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith('.')]


@pytest.mark.parametrize('tile', [0, 6])
def test_lmdb_and_folder_hold_the_networks_images(stage1, hr, tmp_path, tile, capsys):
    out = tmp_path / 'out'
    assert run(stage1, hr, '--output', out / 'LR.lmdb', '--output-folder', out / 'LR', '--tile', tile) == 0
    images = stored(out / 'LR.lmdb')
    assert set(images) == {'a', 'b', 'c_1'}
    for path in hr.iterdir():
        key = path.stem.replace('.', '_')
        assert np.array_equal(images[key], expected(stage1, path))
        assert np.array_equal(cv2.imread(str(out / 'LR' / f'{key}.png')), images[key])
    assert leftovers(out) == []
    assert '3 LR images, 3 of them made now' in capsys.readouterr().out


def test_lmdbs_are_pairs_for_training(stage1, hr, tmp_path):
    """Odd HR images too; and an HR LMDB as the source gives the same LR images under its keys."""
    cv2.imwrite(str(hr / 'odd.png'), np.random.default_rng(1).integers(0, 256, (43, 38, 3), dtype=np.uint8))
    places = {'dataroot_lq': tmp_path / 'LR.lmdb', 'dataroot_gt': tmp_path / 'HR.lmdb'}
    assert run(stage1, hr, '--output', places['dataroot_lq'], '--output-hr', places['dataroot_gt']) == 0
    opt = {'name': 'x', 'type': 'PairedImageDataset', 'phase': 'val', 'scale': 4, 'io_backend': {'type': 'lmdb'}}
    pairs = build_dataset(opt | {key: str(place) for key, place in places.items()})
    sizes = {pair['lq_path']: (pair['lq'].shape[1:], pair['gt'].shape[1:]) for pair in pairs}
    assert sizes['odd'] == ((10, 9), (40, 36))
    assert len(sizes) == 4
    assert np.array_equal(stored(places['dataroot_lq'])['odd'], expected(stage1, hr / 'odd.png'))

    again = tmp_path / 'from_lmdb.lmdb'
    assert run(stage1, places['dataroot_gt'], '--output', again) == 0
    first, second = stored(places['dataroot_lq']), stored(again)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert (again / 'meta_info.txt').read_text() == (places['dataroot_lq'] / 'meta_info.txt').read_text()


def test_an_interrupted_run_continues(stage1, hr, tmp_path, monkeypatch):
    made, write, most = [], synthesis.write_png, 2

    def write_some(path, image):
        if len(made) == most:
            raise KeyboardInterrupt
        made.append(path.name)
        write(path, image)

    target = tmp_path / 'LR.lmdb'
    monkeypatch.setattr(synthesis, 'write_png', write_some)
    assert run(stage1, hr, '--output', target) == 130
    assert not target.exists()
    most = 3
    assert run(stage1, hr, '--output', target) == 0
    assert sorted(made) == ['a.png', 'b.png', 'c_1.png']
    images = stored(target)
    assert all(np.array_equal(images[p.stem.replace('.', '_')], expected(stage1, p)) for p in hr.iterdir())


@pytest.mark.parametrize('changed', ['image', 'weights'])
def test_what_changed_is_made_anew_when_continuing(stage1, hr, tmp_path, monkeypatch, changed):
    target = tmp_path / 'LR.lmdb'
    with monkeypatch.context() as patch:
        patch.setattr(synthesis, 'write_lmdb', lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(stage1, hr, '--output', target) == 130
    if changed == 'image':
        cv2.imwrite(str(hr / 'b.png'), np.zeros((48, 48, 3), np.uint8))
    else:
        make_experiment(stage1, seed=1)
    assert run(stage1, hr, '--output', target) == 0
    assert np.array_equal(stored(target)['b'], expected(stage1, hr / 'b.png'))


def test_complete_outputs_stay_until_the_weights_change_and_tell_which_they_were(stage1, hr, tmp_path, capsys):
    target = tmp_path / 'LR.lmdb'
    assert run(stage1, hr, '--output', target) == 0
    record = json.loads((tmp_path / 'LR.lmdb.json').read_text())
    assert record['weights_sha256'] == sum_of(stage1 / 'models' / 'net_g_latest.pth').sha256
    assert (record['complete'], record['images'], record['options']['network_g']) == (True, 3, NETWORK)
    before, stamp = stored(target), (target / 'data.mdb').stat().st_mtime_ns
    assert run(stage1, hr, '--output', target) == 0
    assert 'complete, nothing to do' in capsys.readouterr().out
    assert (target / 'data.mdb').stat().st_mtime_ns == stamp
    make_experiment(stage1, seed=1)
    assert run(stage1, hr, '--output', target) == 0
    assert not np.array_equal(stored(target)['a'], before['a'])


def test_an_image_that_was_deleted_is_made_again(stage1, hr, tmp_path):
    out = tmp_path / 'LR'
    assert run(stage1, hr, '--output-folder', out) == 0
    before = (out / 'b.png').read_bytes()
    (out / 'b.png').unlink()
    assert run(stage1, hr, '--output-folder', out) == 0
    assert (out / 'b.png').read_bytes() == before


def run_on_rank(rank: int, *arguments: Path) -> tuple[int, str, str]:
    """Exit status, and what it says."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(*arguments)
    return status, out.getvalue(), err.getvalue()


def test_two_processes_equal_one(stage1, hr, tmp_path):
    assert run(stage1, hr, '--output', tmp_path / 'one.lmdb') == 0
    ranks = on_processes(run_on_rank, stage1, hr, '--output', tmp_path / 'two.lmdb', join=False)
    assert [status for status, *_ in ranks] == [0, 0]
    assert ''.join(out for _, out, _ in ranks).count('3 LR images, 3 of them made now') == 1
    one, two = stored(tmp_path / 'one.lmdb'), stored(tmp_path / 'two.lmdb')
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert leftovers(tmp_path) == []

    (hr / 'b.png').write_bytes(b'no image')  # the second process's share; the message comes once
    ranks = on_processes(run_on_rank, stage1, hr, '--output', tmp_path / 'three.lmdb', join=False)
    assert [status for status, *_ in ranks] == [1, 1]
    assert ''.join(err for *_, err in ranks).count('1 of 3 images cannot be used') == 1
    assert not (tmp_path / 'three.lmdb').exists()


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'Give --output NAME.lmdb'),
        (['--output', 'LR'], 'whose name ends in .lmdb'),
        (['--output', 'LR.lmdb', '--output-hr', 'LR.lmdb'], 'with different names'),
        (['--output-folder', 'LR', '--output-hr', 'HR.lmdb'], 'give both'),
        (['--output', 'LR.lmdb', '--weights', 'x.pth'], 'Give either --experiment DIR'),
        (['--output', 'LR.lmdb', '--tile', '-1'], '--tile -1'),
    ],
)
def test_arguments_that_mean_nothing(stage1, hr, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(stage1, hr, *arguments) == 1
    assert message in capsys.readouterr().err


def test_odd_sizes_need_an_hr_output(stage1, hr, tmp_path, capsys):
    cv2.imwrite(str(hr / 'odd.png'), np.zeros((43, 38, 3), np.uint8))
    assert run(stage1, hr, '--output', tmp_path / 'LR.lmdb') == 1
    message = capsys.readouterr().err
    assert '1 of 4 HR images are no multiple of the scale (4)' in message
    assert 'odd.png is 38 x 43' in message
    assert '--output-hr' in message
    assert leftovers(tmp_path) == []


def test_nothing_of_others_is_overwritten(stage1, hr, tmp_path, capsys):
    write_lmdb(tmp_path / 'theirs.lmdb', [Entry(hr / 'a.png', *SIZES['a'])])
    assert run(stage1, hr, '--output', tmp_path / 'theirs.lmdb') == 1
    assert 'was not written by this command' in capsys.readouterr().err
    assert run(stage1, tmp_path / 'theirs.lmdb', '--output', tmp_path / 'theirs.lmdb') == 1
    assert 'holds the HR images' in capsys.readouterr().err
    assert run(stage1, hr, '--output-folder', hr) == 1
    assert 'holds the HR images' in capsys.readouterr().err
    (tmp_path / 'lq').mkdir()
    (tmp_path / 'lq' / 'a.png').write_bytes(b'mine')
    assert run(stage1, hr, '--output-folder', tmp_path / 'lq') == 1
    assert 'was not written by this command' in capsys.readouterr().err
    assert (tmp_path / 'lq' / 'a.png').read_bytes() == b'mine'


def test_damaged_images_are_listed_and_the_rest_kept(stage1, hr, tmp_path, capsys):
    (hr / 'broken.png').write_bytes(b'no image')
    target = tmp_path / 'LR.lmdb'
    assert run(stage1, hr, '--output', target) == 1
    message = capsys.readouterr().err
    assert '1 of 4 images cannot be used' in message
    assert 'broken.png does not decode' in message
    assert not target.exists()
    (hr / 'broken.png').unlink()
    assert run(stage1, hr, '--output', target) == 0
    assert '3 LR images, 0 of them made now' in capsys.readouterr().out


def test_names_that_outputs_cannot_have(stage1, hr, tmp_path, capsys):
    (hr / 'a.png').rename(hr / 'ä.png')
    assert run(stage1, hr, '--output', tmp_path / 'LR.lmdb') == 1
    assert '1 names are not ASCII' in capsys.readouterr().err
    assert leftovers(tmp_path) == []
    assert run(stage1, hr, '--output-folder', tmp_path / 'LR') == 0
    (hr / 'ä.png').rename(hr / 'IMG 1.png')
    capsys.readouterr()
    assert run(stage1, hr, '--output-folder', tmp_path / 'LR2') == 0
    assert '2 LR images are named otherwise than their HR images, such as IMG_1.png of' in capsys.readouterr().out
