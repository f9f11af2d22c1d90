"""Two small pools of images that tell where a crop is from, for tests of UnpairedImageDataset."""

import copy
from pathlib import Path

import cv2
import numpy as np
import torch

from ext_core.options import datasets as check

HR, LR = (28, 34), (11, 9)  # height, width; nothing is square or a multiple of the scale
HR_NAMES, LR_NAMES = ('h0', 'h1', 'h2'), ('l0', 'l1', 'l2', 'l3')


def coded(size: tuple[int, int], number: int) -> np.ndarray:
    """BGR: row, column and number of the image in the channels, so that a crop tells where it is from."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([rows, columns, np.full(size, number)], axis=-1).astype(np.uint8)


def write_lmdb(folder: str) -> None:
    import lmdb

    with lmdb.open(f'{folder}.lmdb', map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for path in sorted(Path(folder).iterdir()):
            transaction.put(path.stem.encode(), path.read_bytes())
    lines = [f'{p.name} ({",".join(map(str, cv2.imread(str(p)).shape))}) 1' for p in sorted(Path(folder).iterdir())]
    Path(f'{folder}.lmdb/meta_info.txt').write_text('\n'.join(reversed(lines)) + '\n\n')  # order must not matter


def section(backend: str = 'disk', **changes) -> dict:
    end = '.lmdb' if backend == 'lmdb' else ''
    return {
        'name': 'test',
        'type': 'UnpairedImageDataset',
        'dataroot_gt': f'hr{end}',
        'dataroot_real_lq': f'real{end}',
        'io_backend': {'type': backend},
        'gt_size': 16,
        'scale': 4,
        'phase': 'train',
        'batch_size_per_gpu': 3,
        'num_worker_per_gpu': 0,
    } | changes


def number_of(image: torch.Tensor) -> int:
    return round(image[0].mean().item() * 255)  # red is the last BGR channel


def problems(train: dict, **sections) -> list[str]:
    opt = {'scale': train['scale'], 'num_gpu': 0, 'datasets': {'train': train} | sections}
    return [str(problem) for problem in check.problems(copy.deepcopy(opt), is_train=True)]
