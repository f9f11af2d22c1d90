"""The command that exports to ONNX: what it writes, and what it refuses to write."""

import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from script_loader import load_script

from ext_core.networks.metadata import from_strings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'ext_core'))
from generator_zoo import first, saved

script = load_script('export_onnx')


def run(*arguments: object) -> int:
    return script.main([str(argument) for argument in arguments])


@pytest.fixture
def weights(tmp_path) -> Path:
    saved(first('EDSR'), tmp_path / 'net.pth')
    return tmp_path / 'net.pth'


def test_writes_a_checked_model_that_tells_what_it_is(weights, tmp_path, capsys):
    assert run(weights, tmp_path / 'net.onnx', '--opset', 16) == 0
    printed = capsys.readouterr().out
    assert 'astronaut, 132 x 96: largest difference ' in printed
    assert printed.count('largest difference') == 3
    assert 'net.onnx: EDSR, scale 2, opset 16' in printed
    assert 'do not show res_scale 1' in printed
    model = onnx.load(tmp_path / 'net.onnx')
    assert model.opset_import[0].version == 16
    assert [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim] == ['n', '', 'height', 'width']
    metadata = from_strings({entry.key: entry.value for entry in model.metadata_props}, 'net.onnx')
    assert metadata is not None
    assert metadata.network['num_feat'] == 4


def test_halves_are_measured_and_smaller(weights, tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'mine.png'), image)
    assert run(weights, tmp_path / 'half.onnx', '--half', '--images', tmp_path / 'mine.png') == 0
    printed = capsys.readouterr().out
    assert 'mine.png, 41 x 30: largest difference ' in printed
    kinds = {tensor.data_type for tensor in onnx.load(tmp_path / 'half.onnx').graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    entry = onnx.load(tmp_path / 'half.onnx').graph.input[0]
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_beyond_the_tolerance_there_is_no_file(weights, tmp_path, capsys):
    assert run(weights, tmp_path / 'net.onnx', '--half', '--tolerance', 1e-9) == 1
    captured = capsys.readouterr()
    assert 'more than 1e-09' in captured.err
    assert 'leave out --half' in captured.err
    assert 'Traceback' not in captured.err
    assert not (tmp_path / 'net.onnx').exists()


def test_bad_images_are_named_and_nothing_is_overwritten(weights, tmp_path, capsys):
    (tmp_path / 'bad.png').write_text('x')
    assert run(weights, tmp_path / 'net.onnx', '--images', tmp_path / 'bad.png') == 1
    assert 'bad.png' in capsys.readouterr().err
    tiny = tmp_path / 'tiny.png'
    cv2.imwrite(str(tiny), np.zeros((1, 1, 3), np.uint8))
    saved({**first('RRDBNet'), 'scale': 2}, tmp_path / 'x2.pth')
    assert run(tmp_path / 'x2.pth', tmp_path / 'net.onnx', '--images', tiny) == 1
    assert 'tiny.png is smaller than 2 x 2' in capsys.readouterr().err
    assert not (tmp_path / 'net.onnx').exists()
    (tmp_path / 'net.onnx').write_text('precious')
    assert run(weights, tmp_path / 'net.onnx') == 1
    assert 'is there already' in capsys.readouterr().err
    assert (tmp_path / 'net.onnx').read_text() == 'precious'
