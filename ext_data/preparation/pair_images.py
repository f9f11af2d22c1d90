"""From the files of one pair to its output images, every check on the way."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from basicsr.data.transforms import mod_crop

from ext_data.decoding import ImageError, is_scaled
from ext_data.preparation.images import bicubic_down, cut_pair, read_image, write_png
from ext_data.preparation.layouts import Window
from ext_data.preparation.ledger import Record
from ext_data.preparation.pairs import Pair


@dataclass(frozen=True)
class Plan:
    """What to make of every pair.

    Args:
        scale (int): HR size / LR size, at least 2.
        hr_folder (Path): Output folder of the HR images; the LMDB gets the same name plus ``.lmdb``.
        lr_folder (Path): Output folder of the LR images; must have the same parent.
        window (Window | None): Cut into sub-images; None writes whole images.
        lr_at_hr_size (bool): Given LR images have the size of HR and are reduced by bicubic. Default: False.
        blur (float): Standard deviation, in HR pixels, of a Gaussian blur of HR before LR is made; 0 is none. Given LR
            images are not blurred. Default: 0.0.
    """

    scale: int
    hr_folder: Path
    lr_folder: Path
    window: Window | None = None
    lr_at_hr_size: bool = False
    blur: float = 0.0

    def __post_init__(self) -> None:
        if self.scale < 2:
            raise ValueError(f'--scale {self.scale}: must be an integer of at least 2.')
        if not 0 <= self.blur < math.inf:
            raise ValueError(f'--blur {self.blur:g}: must be a standard deviation in HR pixels, for instance 1.6.')
        if self.window is None:
            return
        if self.window.step < 1 or self.window.thresh < 0:
            raise ValueError(
                f'--step must be positive and --thresh not negative, not {self.window.step}, {self.window.thresh}.'
            )
        for option, value in (('--sub-images', self.window.size), ('--step', self.window.step)):
            if value % self.scale:
                raise ValueError(
                    f'{option} {value} does not divide by --scale {self.scale}, so HR and LR would not match. '
                    f'Try {value - value % self.scale or self.scale}.'
                )


def output_folders(output: Path, split: str, lr_kind: str, scale: int, window: Window | None) -> tuple[Path, Path]:
    """Names of the HR and the LR folder: ``[split_]HR_x4[_sub]`` and ``[split_]LR_[kind_]x4[_sub]``.

    Args:
        output (Path): Their parent.
        split (str): Part of the set; may be empty.
        lr_kind (str): ``bicubic``, ``blur1.6``, ``real``, or empty for LR of unknown origin.
        scale (int): HR is cropped to a multiple of it, so that both names carry it.
        window (Window | None): Whether sub-images are cut.

    Returns:
        tuple[Path, Path]: HR folder, LR folder.
    """
    prefix, tail = f'{split}_' if split else '', '_sub' if window else ''
    kind = f'{lr_kind}_' if lr_kind else ''
    return output / f'{prefix}HR_x{scale}{tail}', output / f'{prefix}LR_{kind}x{scale}{tail}'


def make_pair(pair: Pair, plan: Plan) -> Record:
    """Read, check, reduce, cut and write one pair.

    Args:
        pair (Pair): Source files.
        plan (Plan): What to make of them.

    Returns:
        Record: What was written.

    Raises:
        ImageError: If a file does not decode or the sizes do not match.
    """
    source = fingerprint(pair)
    hr, notes = read_image(pair.hr)
    size = hr.shape
    if pair.lr is None:
        hr = mod_crop(hr, plan.scale)
        lr = _reduce(hr, plan.scale, pair.hr, plan.blur)
    else:
        lr, lr_notes = read_image(pair.lr)
        notes = list(dict.fromkeys(notes + lr_notes))
        (hr_h, hr_w), (lr_h, lr_w), scale = hr.shape[:2], lr.shape[:2], plan.scale
        equal, sizes = (hr_h, hr_w) == (lr_h, lr_w), f'{pair.hr} is {hr_w} x {hr_h}, {pair.lr} is {lr_w} x {lr_h}'
        if plan.lr_at_hr_size:
            if not equal:
                raise ImageError(f'{sizes}: they should be equal (LR at the size of HR)')
            hr, lr = mod_crop(hr, scale), _reduce(mod_crop(lr, scale), scale, pair.lr)
        elif is_scaled((hr_h, hr_w), (lr_h, lr_w), scale):
            # benchmark sets often keep the whole HR beside LR of its cropped form
            hr = hr[: scale * lr_h, : scale * lr_w]
        else:
            hint = 'for captured LR at the size of HR use --lr-at-hr-size' if equal else 'correct --hr, --lr or --scale'
            raise ImageError(f'{sizes}: HR is not {scale} x LR; {hint}')
    if hr.shape != size:
        notes.append('HR cropped to a multiple of the scale')
    images = [(hr, lr)] if plan.window is None else cut_pair(hr, lr, plan.scale, plan.window)
    pieces = []
    for number, (hr_piece, lr_piece) in enumerate(images, start=1):
        name = pair.key if plan.window is None else f'{pair.key}_s{number:03d}'
        write_png(plan.hr_folder / f'{name}.png', hr_piece)
        write_png(plan.lr_folder / f'{name}.png', lr_piece)
        pieces.append((name, hr_piece.shape[0], hr_piece.shape[1]))
    return Record(pair.key, source, pieces, notes)


def _reduce(image: np.ndarray, scale: int, path: Path, blur: float = 0.0) -> np.ndarray:
    if min(image.shape[:2]) < 4 * scale:  # the antialiased kernel spans 4 * scale pixels
        raise ImageError(f'{path}: smaller than {4 * scale} pixels, too small to be reduced {scale} times')
    if min(image.shape[:2]) < 4 * blur:  # more than the mirrored border holds
        raise ImageError(f'{path}: smaller than {4 * blur:g} pixels, too small to be blurred by {blur:g} pixels')
    return bicubic_down(image, scale, blur)


def fingerprint(pair: Pair) -> list[int]:
    """Size in bytes and time of change in nanoseconds of the pair's files."""
    stats = [path.stat() for path in (pair.hr, pair.lr) if path is not None]
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]
