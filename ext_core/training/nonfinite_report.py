"""The batch that made a loss or a gradient NaN or infinite, written to disk."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger, imwrite, tensor2img
from torch import Tensor

from ext_core.errors import UserError
from ext_core.saving.checkpoint import atomic_save, atomic_write_text

MOST_FOLDERS = 20  # of one rank: more do not tell more, and batches of large images fill disks


def describe(findings: Iterable[Mapping[str, Any]]) -> str:
    """What was bad, from all ranks' findings: the losses, or, where they were finite, the gradients."""
    findings = list(findings)
    losses = {name for found in findings for name, value in found['losses'].items() if not math.isfinite(value)}
    if losses:
        return f'loss {", ".join(sorted(losses))}'
    gradients = list(dict.fromkeys(name for found in findings for name in found['gradients']))
    others = f' and of {len(gradients) - 2} more' if len(gradients) > 2 else ''
    return f'gradient of {", ".join(gradients[:2])}{others}'


def write_batch(root: Path, rank: int, number: int, batch: Mapping[str, Any], report: Mapping[str, Any]) -> Path | None:
    """Write ``iter_<number>_rank<rank>/`` below ``root``.

    It holds ``report.json`` (iteration, losses, names of bad gradients, learning rates, files of the samples),
    ``batch.pt`` (``batch`` as the model got it and ``report``, to be loaded with ``weights_only=True``) and a PNG of
    each image with 1 or 3 channels, [0, 1] to 8 bits; NaN is black, an infinite value black or white. A second batch
    of the same iteration (the first was passed over) gets ``_2``.

    Args:
        root (Path): Made where it is missing.
        rank (int): This process.
        number (int): The iteration.
        batch (Mapping): Tensors, and lists of names.
        report (Mapping): ``losses``, ``gradients``, ``learning_rates``.

    Returns:
        Path | None: The folder; None where it could not be written, for which there is a warning, or where
            ``MOST_FOLDERS`` of this rank are there.
    """
    label = f'rank{rank}'
    if sum(label in folder.name.split('_') for folder in root.glob('iter_*')) >= MOST_FOLDERS:
        return None
    folder = next(path for path in _names(root / f'iter_{number}_{label}') if not path.exists())
    report = {
        'iteration': number,
        **report,
        'samples': {key: list(value) for key, value in batch.items() if key.endswith('_path')},
    }
    try:
        folder.mkdir(parents=True)
        atomic_write_text(json.dumps(_readable(report), indent=1), folder / 'report.json')
        atomic_save({'batch': _plain(batch), 'report': _plain(report)}, folder / 'batch.pt')
        _write_images(folder, batch)
    except (OSError, UserError) as error:
        get_root_logger().warning(f'The batch of iteration {number} could not be written: {error}')
        return None
    return folder


def _names(first: Path) -> Iterable[Path]:
    yield first
    yield from (first.with_name(f'{first.name}_{count}') for count in range(2, MOST_FOLDERS + 2))


def _write_images(folder: Path, batch: Mapping[str, Any]) -> None:
    for key, images in batch.items():
        if isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] in (1, 3):
            for index, image in enumerate(images.detach().float().cpu().nan_to_num(0.0, 1.0, 0.0)):
                imwrite(tensor2img(image), str(folder / f'{key}_{index:02}.png'))


def _plain(value: Any) -> Any:
    """What a safe load accepts, the tensors exact."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _readable(value: Any) -> Any:
    """JSON has no NaN: as text."""
    if isinstance(value, Mapping):
        return {str(key): _readable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)
