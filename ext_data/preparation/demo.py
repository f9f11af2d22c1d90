"""A small training and validation set from photographs that the scikit-image package carries; nothing is downloaded."""

import importlib.util
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
from basicsr.data.transforms import mod_crop

from ext_data.preparation.images import bicubic_down, cut_pair, read_image, write_png
from ext_data.preparation.layouts import Window
from ext_data.preparation.lmdb_writer import Entry, write_lmdb

SCALES = (2, 3, 4)
MULTIPLE = 12  # HR sizes divide by every scale, so that one HR set serves all three
TRAIN_PHOTOGRAPHS = ('astronaut.png', 'motorcycle_left.png', 'rocket.jpg')
TRAIN_WINDOW = Window(size=192, step=96, thresh=24)
# file: (top, left) of a region with fine detail: the cat's eyes and fur; cup, spoon and grain of the wood
VAL_REGIONS = {'chelsea.png': (0, 84), 'coffee.png': (100, 204)}
VAL_SIZE = 288  # NIQE needs at least two blocks of 96 px inside the cropped border
CAMERA_BLUR = 0.8  # standard deviation in LR pixels
CAMERA_NOISE = 2.0  # standard deviation in grey levels


def ensure_demo_data(root: Path, scale: int = 4) -> Path:
    """Make ``root/datasets/demo`` unless it is there already.

    ``train/gt.lmdb`` and ``train/lq_x{scale}.lmdb`` hold overlapping sub-images of three photographs, ``val/gt`` and
    ``val/lq_x{scale}`` one region each of two others. LR is MATLAB-style bicubic. ``train/real_x{scale}.lmdb`` and
    ``val/real_x{scale}`` hold the same as a blurring, noisy camera would give it: the real LR images of unpaired
    training. Several processes may call this at the same time: each part is built aside and renamed, and whoever
    comes second keeps what is there.

    Args:
        root (Path): Folder under which ``datasets/demo`` is made, usually the project's.
        scale (int): 2, 3 or 4; further scales are added beside the ones that exist. Default: 4.

    Returns:
        Path: ``root/datasets/demo``.

    Raises:
        ValueError, OSError: If the scale is not supported, or scikit-image or one of its photographs is missing.
    """
    if scale not in SCALES:
        raise ValueError(f'The demo set exists for the scales {SCALES}, not {scale}.')
    demo = Path(root) / 'datasets' / 'demo'
    low = [f'{kind}_x{scale}' for kind in ('lq', 'real')]
    parts = ('train/gt.lmdb', *(f'train/{name}.lmdb' for name in low), 'val/gt', *(f'val/{name}' for name in low))
    if all((demo / part).is_dir() for part in parts):
        return demo
    # of the installed scikit-image, found without importing it
    spec = importlib.util.find_spec('skimage')
    if spec is None or spec.origin is None:
        raise OSError(
            'The demo set is made from photographs in the scikit-image package, which is not installed.\n'
            'Remedy: pip install scikit-image'
        )
    photographs = Path(spec.origin).parent / 'data'
    missing = [name for name in (*TRAIN_PHOTOGRAPHS, *VAL_REGIONS) if not (photographs / name).is_file()]
    if missing:
        raise OSError(
            f'scikit-image in {photographs} lacks {", ".join(missing)}.\n'
            'Remedy: pip install --force-reinstall scikit-image'
        )
    for part in parts:
        (demo / part).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=demo.parent, prefix='.demo-') as building:
        folders = {name: Path(building) / 'train' / name for name in ('gt', *low)}
        entries: dict[str, list[Entry]] = {name: [] for name in folders}
        for folder in folders.values():
            folder.mkdir(parents=True)
        for file in TRAIN_PHOTOGRAPHS:
            hr = mod_crop(read_image(photographs / file)[0], MULTIPLE)
            pairs = cut_pair(hr, bicubic_down(hr, scale), scale, TRAIN_WINDOW)
            real = (small for _, small in cut_pair(hr, camera_down(hr, scale), scale, TRAIN_WINDOW))
            for number, (pair, other) in enumerate(zip(pairs, real, strict=True), start=1):
                for (name, folder), image in zip(folders.items(), (*pair, other), strict=True):
                    path = folder / f'{Path(file).stem}_s{number:03d}.png'
                    write_png(path, image)
                    entries[name].append(Entry(path, *image.shape[:2]))
        for name, folder in folders.items():
            write_lmdb(folder.with_name(f'{name}.lmdb'), entries[name])
        for file, (top, left) in VAL_REGIONS.items():
            hr = read_image(photographs / file)[0][top : top + VAL_SIZE, left : left + VAL_SIZE]
            for part, image in zip(parts[3:], (hr, bicubic_down(hr, scale), camera_down(hr, scale)), strict=True):
                (Path(building) / part).mkdir(parents=True, exist_ok=True)
                write_png(Path(building) / part / f'{Path(file).stem}.png', image)
        for part in parts:
            try:
                os.rename(Path(building) / part, demo / part)
            except OSError:  # another process was first, and its folder stays: the content is the same
                if not (demo / part).is_dir():
                    raise
    return demo


def camera_down(hr: np.ndarray, scale: int) -> np.ndarray:
    """What a camera might make of a scene: a lens's blur, the sampling (bicubic), the sensor's noise.

    Args:
        hr (np.ndarray): (scale * h, scale * w, 3), uint8.
        scale (int): Factor, at least 2.

    Returns:
        np.ndarray: (h, w, 3), uint8. The noise is the same in each call.
    """
    low = bicubic_down(cv2.GaussianBlur(hr, (0, 0), CAMERA_BLUR * scale), scale)
    noise = np.random.default_rng(0).normal(0, CAMERA_NOISE, low.shape)
    return np.round(np.clip(low + noise, 0, 255)).astype(np.uint8)
