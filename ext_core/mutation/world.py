"""Stand-ins for all images and weights that option files name, so that the files themselves have no problem."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import lmdb
import numpy as np
import torch
import torchvision
from basicsr.utils.registry import ARCH_REGISTRY

HR_SIZE = 576  # pixels: a multiple of all scales, above the largest crop of our recipes
VAL_SIZE = 288  # NIQE wants two blocks of 96 px within the border
_FEW = 16  # training images, enough for a batch of most recipes


@dataclass
class _Pool:
    """One folder or LMDB of equal images."""

    is_lmdb: bool
    side: int = 0
    count: int = 1


def build(root: Path, recipes: dict[str, dict], named: Callable[[str], dict]) -> None:
    """Make stand-ins below a folder, from which the option files are then checked.

    Args:
        root (Path): The folder; paths that leave it for a neighbour, as ``../shared`` does, are made beside it.
        recipes (dict[str, dict]): Options of the files by the name of their experiment.
        named (Callable[[str], dict]): Options of any experiment whose weights they begin with, {} if unknown.
    """
    pools: dict[Path, _Pool] = {}
    for opt in recipes.values():
        for phase, dataset in opt['datasets'].items():
            _note(pools, root, phase, dataset, opt['scale'])
    for folder, pool in pools.items():
        _write(folder, pool)
    for opt in recipes.values():
        for key, value in (opt.get('path') or {}).items():
            if key.startswith('pretrain_network') and isinstance(value, str):
                saved = f'network_{Path(value).stem.split("_")[1]}'  # net_g_latest.pth
                source = named(Path(value).parts[1]).get(saved) or opt[f'network_{key.rpartition("_")[2]}']
                _save(_network(source), root / value)
    folder = root / 'experiments' / 'pretrained_models'
    for name, file in {'vgg19': 'vgg19_features.pth', 'vgg16': 'vgg16_features.pth'}.items():
        with torch.device('meta'):
            net = getattr(torchvision.models, name)(weights=None)
        _save(
            {key: value for key, value in net.state_dict().items() if key.startswith('features')}, folder / file, None
        )


# ---------------------------------------------------------------------- images
def _note(pools: dict[Path, _Pool], root: Path, phase: str, dataset: dict, scale: int) -> None:
    training = phase == 'train'
    hr, count = (HR_SIZE, _FEW) if training else (VAL_SIZE, 1)
    if training:
        count = max(count, math.ceil(dataset['batch_size_per_gpu'] / dataset.get('dataset_enlarge_ratio', 1)))
    for key, value in dataset.items():
        if key.startswith('dataroot') and value is not None:
            pool = pools.setdefault((root / value).resolve(), _Pool(dataset['io_backend']['type'] == 'lmdb'))
            pool.side = max(pool.side, hr if key == 'dataroot_gt' else hr // scale)
            pool.count = max(pool.count, count)


def _write(folder: Path, pool: _Pool) -> None:
    folder.mkdir(parents=True)
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8), (pool.side, pool.side))
    png = cv2.imencode('.png', smooth)[1].tobytes()
    names = [f'{number:04}' for number in range(pool.count)]
    if not pool.is_lmdb:
        for name in names:
            (folder / f'{name}.png').write_bytes(png)
        return
    with lmdb.open(str(folder), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for name in names:
            transaction.put(name.encode(), png)
    lines = [f'{name}.png ({pool.side},{pool.side},3) 1\n' for name in names]
    (folder / 'meta_info.txt').write_text(''.join(lines))


# ---------------------------------------------------------------------- weights
def _network(arguments: dict) -> dict[str, torch.Tensor]:
    with torch.device('meta'):
        net = ARCH_REGISTRY.get(arguments['type'])(**{k: v for k, v in arguments.items() if k != 'type'})
    return net.state_dict()


def _save(weights: dict[str, torch.Tensor], file: Path, *keys: str | None) -> None:
    """Save weights of these shapes, small and equal: one number of each tensor is stored, whatever its size."""
    equal = {}
    for name, tensor in weights.items():
        fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 10
        equal[name] = torch.full((1,) * tensor.dim(), 0.5 / fan_in).to(tensor.dtype).expand(tensor.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(equal if keys else {'params': equal, 'params_ema': equal}, file)
