"""Crops of saved images: which are found, that they show the same place, and how their number is kept down."""

import base64

import cv2
import numpy as np
from basicsr.utils.matlab_functions import imresize
from report_experiments import make_experiment, options, save_picture

from ext_core.use.experiments import read_experiments
from ext_core.use.report_pictures import pictures, sources


def decoded(address: str) -> np.ndarray:
    data = base64.b64decode(address.removeprefix('data:image/png;base64,'), validate=True)
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def two_trainings(tmp_path, template: str = '{}'):
    """Two experiments that saved ``cat`` four times each, ``dog`` once each, and have cat's originals."""
    folders = {'gt': 'data/gt', 'lq': 'data/lq'}
    val = {f'dataroot_{side}': folder for side, folder in folders.items()} | {'filename_tmpl': template}
    shown = {}
    for seed, name in enumerate(('a', 'b')):
        folder = make_experiment(tmp_path, name, options(name, datasets={'val': val}))
        for step in (5, 10, 100, 1000):
            path = folder / 'visualization' / 'cat_1' / f'cat_1_{step}.png'
            shown[name, step] = save_picture(path, 10 * seed + step)
        save_picture(folder / 'visualization' / 'dog' / 'dog_5.png', seed)
    shown['gt'] = save_picture(tmp_path / 'data' / 'gt' / 'cat.png', 98)
    shown['lq'] = save_picture(tmp_path / 'data' / 'lq' / f'{template.format("cat")}.png', 99, (12, 16))
    return read_experiments([tmp_path / 'experiments' / name for name in ('a', 'b')]), shown


def test_versions_are_found_and_show_the_same_place(tmp_path):
    experiments, shown = two_trainings(tmp_path, '{}_1')
    found = sources(experiments, 3)
    assert list(found) == ['cat_1', 'dog']
    assert [source.label for source in found['cat_1']] == [
        *('a, iteration 1,000', 'b, iteration 1,000', 'a, iteration 10', 'b, iteration 10'),
        *('a, iteration 5', 'b, iteration 5', 'true image', 'bicubic ×4'),
    ]
    (cat, dog), notes = pictures(found, crop=20)
    assert notes == []
    assert list(dog.crops) == ['a, iteration 5', 'b, iteration 5']
    window = np.s_[cat.top : cat.top + 20, cat.left : cat.left + 20]
    large = (imresize(shown['lq'].astype(np.float32) / 255, 4).clip(0, 1) * 255).round().astype(np.uint8)
    whole = {'a, iteration 1,000': shown['a', 1000], 'b, iteration 5': shown['b', 5], 'true image': shown['gt']}
    for label, image in {**whole, 'bicubic ×4': large}.items():
        assert np.array_equal(decoded(cat.crops[label]), image[window]), label


def test_sets_with_images_of_one_name_stay_apart(tmp_path):
    experiments, _ = two_trainings(tmp_path)
    experiments[0].options['datasets']['val']['name'] = 'Set5'
    for seed, name in enumerate(('Set5', 'Set14')):
        save_picture(tmp_path / 'experiments' / 'a' / 'visualization' / name / 'cat' / 'cat_5.png', seed)
    found = sources(experiments, 3)
    assert [source.label for source in found['Set5/cat']] == ['a, iteration 5', 'true image', 'bicubic ×4']
    assert [source.label for source in found['Set14/cat']] == ['a, iteration 5']


def test_results_of_a_test_are_compared_by_the_image_name(tmp_path):
    experiments, _ = two_trainings(tmp_path)
    save_picture(tmp_path / 'results' / 'test_a' / 'visualization' / 'S' / 'dog_test_a.png', 3)
    (tmp_path / 'results' / 'test_a' / 'test_test_a_20260102_030405.log').touch()
    tested = read_experiments([tmp_path / 'results' / 'test_a'])
    assert tested[0].notes == []
    assert [source.label for source in sources([*experiments, *tested], 4)['dog']][-1] == 'test_a, S'


def test_what_does_not_fit_is_left_out_and_said(tmp_path):
    experiments, _ = two_trainings(tmp_path)
    folder = tmp_path / 'experiments' / 'a' / 'visualization'
    save_picture(folder / 'dog' / 'dog_9.png', 1, (30, 30))
    save_picture(folder / 'alone' / 'alone_9.png', 1)
    (folder / 'cat_1' / 'cat_1_1000.png').write_bytes(b'no image')
    (cat, dog), notes = pictures(sources(experiments, 4), crop=500)
    assert 'a, iteration 1,000' not in cat.crops
    assert cat.size == (48, 48)
    assert len(dog.crops) == 1 + 1
    assert any('cat_1_1000.png' in note for note in notes)
    assert any('dog' in note and 'pixels instead of' in note for note in notes)
    assert 'alone is left out: there is nothing to compare it with.' in notes


def test_number_and_size_are_capped_and_said(tmp_path):
    experiments, _ = two_trainings(tmp_path)
    found = sources(experiments, 4)
    made, notes = pictures(found, images=1, crop=16)
    assert (len(made), len(notes)) == (1, 1)
    assert '1 of 2 images are left out: --images 1.' in notes
    size = sum(map(len, made[0].crops.values()))
    assert len(pictures(found, crop=16, characters=size)[0]) == 1
    made, notes = pictures(found, crop=16, characters=size - 1)
    assert made == []
    assert 'the page would exceed its size' in notes[0]
