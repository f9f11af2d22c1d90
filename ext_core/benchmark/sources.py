"""From words on a command line to upscalers that have been tried."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ext_core.benchmark.sets import TestSet
from ext_core.benchmark.upscalers import NetworkFile, OnnxFile, Upscaler, generator, image_folder, run_onnx
from ext_core.errors import UserError
from ext_core.generators.weight_files import SUFFIXES, experiment_files
from ext_core.inference.evaluation import read
from ext_core.options import loading as options

_PROBE = 48  # px of LR, a multiple of the windows and strides that networks have
_KINDS = (
    'Name an experiment or a folder of images, a .pth or .safetensors file (with :OPTIONS.yml where it does not tell '
    'its network), an option file (.yml) with path:pretrain_network_g, or an .onnx file.'
)


def upscaler_of(text: str, sets: Sequence[TestSet]) -> Upscaler:
    """A method of the command line, ``[NAME=]SOURCE``, ready to be measured.

    Raises:
        UserError: If it cannot be read, fits no set, or its images have another size than scale times LR.
    """
    name, equals, source = text.partition('=')
    if not equals or '/' in name:
        name, source = '', text
    upscaler = _read(name, source, sets)
    fitting = [test_set for test_set in sets if upscaler.takes(test_set)]
    if not fitting:
        scales = ', '.join(f'{test_set.name} {test_set.scale}' for test_set in sets)
        raise UserError(f'{upscaler.name} enlarges by {upscaler.scale}, but the sets have the scales: {scales}.')
    _try(upscaler, fitting[0])
    return upscaler


def _read(name: str, source: str, sets: Sequence[TestSet]) -> Upscaler:
    file, colon, beside = source.partition(':')
    path = Path(file)
    suffix = path.suffix.lower()
    if path.is_dir():
        folder_name = name or path.resolve().name
        if (path / 'models').is_dir():
            option_file, weights = experiment_files(path)
            return _from_checkpoint(folder_name, weights, option_file)
        return image_folder(folder_name, path, sets)
    if not path.is_file():
        raise UserError(f'{source}: there is no {path}. {_KINDS}')
    if suffix in SUFFIXES:
        return _from_checkpoint(name or path.stem, path, Path(beside) if colon else None)
    if suffix in ('.yml', '.yaml'):
        return _from_options(name or path.stem, path)
    if suffix == '.onnx':
        made = run_onnx(path, np.zeros((_PROBE, _PROBE, 3), np.uint8))
        return OnnxFile(name or path.stem, made.shape[0] // _PROBE, path=path)
    raise UserError(f'{source} is of no kind that can be measured. {_KINDS}')


# ---------------------------------------------------------------------- networks
def _from_checkpoint(name: str, weights: Path, option_file: Path | None, param_key: str = 'params_ema') -> NetworkFile:
    """A checkpoint, with its EMA weights where it has them."""
    opened = generator(weights, option_file, param_key)
    return NetworkFile(name, opened.scale, json.dumps(opened.network), weights, option_file, param_key)


def _from_options(name: str, option_file: Path) -> NetworkFile:
    """The weights that an option file starts from or tests."""
    path_opt = options.load(option_file).get('path')
    path_opt = path_opt if isinstance(path_opt, dict) else {}
    weights = path_opt.get('pretrain_network_g')
    if not isinstance(weights, str):
        raise UserError(f'{option_file} names no weights. Set path:pretrain_network_g, or name the .pth file.')
    key = path_opt.get('param_key_g') or 'params'
    return _from_checkpoint(name, Path(weights).expanduser(), option_file, key)


def _try(upscaler: Upscaler, test_set: TestSet) -> None:
    """Enlarge a corner of the first image, so that what does not fit shows before anything is measured."""
    enlarge = upscaler.enlarger()
    if enlarge is None:
        return
    low = read(test_set.places[0].low)[:_PROBE, :_PROBE]
    expected = (low.shape[0] * test_set.scale, low.shape[1] * test_set.scale, 3)
    try:
        made = enlarge(low, test_set.scale).shape
    except UserError:
        raise
    except Exception as error:  # ONNX has types of its own
        raise UserError(
            f'{upscaler.name} fails on an image of {low.shape[1]} x {low.shape[0]}: {type(error).__name__}: {error}'
        ) from error
    if made != expected:
        raise UserError(
            f'{upscaler.name} makes {made} of {low.shape}, not scale ({test_set.scale}) times as much, {expected}. '
            'Correct the scale of the option file, or the sets.'
        )


def require_names(names: Sequence[str], what: str) -> None:
    """Names that folders can have, each once.

    Raises:
        UserError: If one cannot be used.
    """
    for name in names:
        if not re.fullmatch(r'[\w+(-][\w .,+()-]*', name):
            raise UserError(f"{what} '{name}': use letters, digits and _ + - . only. Write NAME=... to name it.")
        if names.count(name) > 1:
            raise UserError(f"two {what}s are called '{name}'. Write NAME=... to name them.")
