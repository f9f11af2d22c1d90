"""The metrics of the package pyiqa, by the names ``pyiqa.dists``, ``pyiqa.ms_ssim``, and so on.

What there is stands in a table of the package, which is read without importing the package: that takes seconds.
"""

import contextlib
import functools
import importlib.util
import io
import re
import runpy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ext_arch.pretrained import DOWNLOAD_TIMEOUT, socket_timeout

PREFIX = 'pyiqa.'
INSTALL = 'is a metric of the package pyiqa. Install it, or a newer version: pip install -U pyiqa'
_OF_FOLDERS = ('FID', 'InceptionScore')  # they compare sets of images


def configs() -> dict[str, dict]:
    """What the installed pyiqa says of each of its metrics of images; {} where it is not installed."""
    spec = importlib.util.find_spec('pyiqa')
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        table = Path(folder) / 'default_model_configs.py'
        if table.is_file():
            return _read(table)
    return {}


@functools.cache
def _read(table: Path) -> dict[str, dict]:
    """The table of the metrics of images, which is asked for again and again."""
    known = runpy.run_path(str(table)).get('DEFAULT_CONFIGS', {})
    return {name: one for name, one in known.items() if one['metric_opts']['type'] not in _OF_FOLDERS}


def how_to_get(name: Any) -> str | None:
    """What to do where ``pyiqa.something`` is not registered; None for other names, or where pyiqa is there."""
    return f'{name} {INSTALL}' if str(name).startswith(PREFIX) and not configs() else None


def build(name: str, as_loss: bool, weights: str | None, options: dict | None) -> nn.Module:
    """A frozen metric on the CPU.

    Args:
        name (str): As pyiqa calls it, such as ``dists``.
        as_loss (bool): Whether it is to have a gradient, and to give the mean of a batch.
        weights (str | None): File of its weights; None for those that pyiqa keeps in torch's cache, or downloads.
        options (dict | None): Further arguments of ``pyiqa.create_metric``.

    Raises:
        OSError: If pyiqa or weights are missing, or it does not build, whatever the reason.
    """
    try:
        import pyiqa
    except ImportError as error:
        raise OSError(f'{PREFIX}{name} {INSTALL} ({error})') from error
    arguments = dict(options or {})
    if weights is not None:
        if not Path(weights).is_file():
            raise FileNotFoundError(f'weights: {weights} does not exist. Correct the path.')
        arguments['pretrained_model_path'] = weights
    said = io.StringIO()  # both pyiqa and torch.hub print what they download
    try:
        # what is drawn at random before the weights are loaded must not come out of the training's generators
        with (
            torch.random.fork_rng(devices=[]),
            socket_timeout(DOWNLOAD_TIMEOUT),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            metric = pyiqa.create_metric(name, as_loss=as_loss, device=torch.device('cpu'), **arguments)
    except Exception as error:
        download = re.findall(r'Downloading: "(.+?)" to (\S+)', said.getvalue())
        if download and isinstance(error, OSError):
            url, file = download[-1]
            raise OSError(
                f'{PREFIX}{name}: {url} cannot be downloaded: {error}. On a machine with a network, get it and put it '
                f'there as {file}.'
            ) from error
        raise OSError(f'{PREFIX}{name} cannot be built: {type(error).__name__}: {error}') from error
    return metric.requires_grad_(False).eval()
