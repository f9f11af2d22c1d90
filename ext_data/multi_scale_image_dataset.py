"""Pairs made from HR images alone, at one scale or at several in the same batch."""

import random
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from basicsr.data.transforms import augment, mod_crop
from basicsr.utils import bgr2ycbcr, img2tensor
from basicsr.utils.matlab_functions import imresize
from basicsr.utils.registry import DATASET_REGISTRY

from ext_arch.resize import bicubic_downscale, bicubic_upscale
from ext_data.decoding import as_float
from ext_data.hr_pool import HRPool, random_corner

# LR pixels around a crop that decide its content: the cubic kernel reaches 2 when it reduces, and 2 when it enlarges
_CONTEXT = 4


@DATASET_REGISTRY.register()
class MultiScaleImageDataset(HRPool):
    """HR images, and LR images that MATLAB's bicubic makes of them at a scale drawn for each sample.

    ``lq`` is the HR image reduced, rounded to 8 bits as an LR file is, and enlarged to its old size again, which
    is not rounded: what a network with ``pre_upsampled`` would make of the LR file itself. A crop's ``lq`` is the crop
    of the whole image's; mirrored borders come in only where the image ends.

    **Training.** All draws come from Python's global generator, which ``ext_data.samples.SeededDataset`` seeds by
    (seed, epoch, index).

    **Validation.** Whole images, cut to a multiple of the scale, nothing random.

    Args:
        opt (dict): Section of the option file, with the keys of ``Options``, in training also of ``TrainOptions``, and
            of :class:`ext_data.hr_pool.HRPool`.

    Returns:
        dict: A sample. Images are float32, c is 3 (RGB) or 1 (luminance):

            * gt: (c, gt_size, gt_size), or whole in validation; range [0, 1].
            * lq: (c, gt_size, gt_size), not clipped; with ``enlarge_lq: false`` (c, gt_size / scale, gt_size / scale).
            * gt_path, lq_path (str): Both the file or key.

    Raises:
        ValueError, OSError: If an option has a value that is not listed, there are no images, or (in ``__getitem__``)
            an image cannot be decoded or is smaller than the crop.

    Reference: Kim et al., VDSR, CVPR 2016, section 3.3, trains on several scales at once; Dong et al., FSRCNN, ECCV
    2016, section 4.1, has the augmentation.
    """

    @dataclass(kw_only=True)
    class Options:
        """Keys of the section in every phase."""

        scale: Annotated[int, 'Factor of super-resolution.']  # put in by the launcher
        scales: Annotated[
            list[int] | None, 'Factors to draw from; one in validation. Without it, that of the option file.'
        ] = None
        enlarge_lq: Annotated[
            bool,
            'Enlarge lq to the size of gt; false, which allows one scale only, leaves it at LR size, for networks that '
            'enlarge.',
        ] = True
        color: Annotated[str | None, "rgb, or y for luminance as BasicSR's datasets give it."] = 'rgb'
        cache: Annotated[
            bool,
            'Keep decoded images and their reductions in memory, in each worker: for small sets. Keep the workers too, '
            'by persistent_workers.',
        ] = False

    @dataclass(kw_only=True)
    class TrainOptions:
        """Keys that only training reads."""

        gt_size: Annotated[
            int,
            {'minimum': 1},
            'Side of the crops in pixels; a multiple of the scale if lq has LR size.',
        ]
        use_hflip: Annotated[bool, 'Flip crops at random.'] = True
        use_rot: Annotated[bool, 'Turn crops by 90 degrees at random; with use_hflip all eight orientations.'] = True
        augment_scales: Annotated[
            list[float] | None,
            'Factors of at most 1 by which the HR image is reduced first, unless it gets too small for the crop; 1 is '
            'drawn as often as each. T91 and General100 take [0.9, 0.8, 0.7, 0.6], with rotations.',
        ] = None

    def __init__(self, opt: dict):
        super().__init__(opt)
        self.training = opt['phase'] == 'train'
        self.enlarge_lq: bool = opt.get('enlarge_lq', True)
        self.scales: list[int] = opt.get('scales') or [opt['scale']]
        if not isinstance(self.scales, list) or any(type(scale) is not int or scale < 2 for scale in self.scales):
            raise ValueError(f'scales must be a list of whole numbers of at least 2, but is {self.scales}.')
        if len(self.scales) > 1 and not (self.training and self.enlarge_lq):
            why = 'with enlarge_lq: false, images of a batch would differ in size' if self.training else 'in validation'
            raise ValueError(f'scales must be one scale {why}, but is {self.scales}.')
        factors = opt.get('augment_scales') or []
        if not isinstance(factors, list) or any(type(f) not in (int, float) or not 0 < f <= 1 for f in factors):
            raise ValueError(
                f'augment_scales must be a list of factors above 0 and at most 1, such as '
                f'[0.9, 0.8, 0.7, 0.6], but is {factors}.'
            )
        self.augment_scales = [1, *(factor for factor in factors if factor != 1)]
        if opt.get('color', 'rgb') not in ('rgb', 'y'):
            raise ValueError(f"color must be 'rgb' or 'y', but is '{opt['color']}'.")
        if self.training:
            self.gt_size: Any = opt.get('gt_size')
            if type(self.gt_size) is not int or self.gt_size < 2 * max(self.scales):
                raise ValueError(
                    f'gt_size must be the side of the crops in pixels, at least twice the scale '
                    f'({max(self.scales)}), but is {self.gt_size}.'
                )
            if not self.enlarge_lq and self.gt_size % self.scales[0]:
                raise ValueError(
                    f'gt_size: {self.gt_size} is no multiple of the scale ({self.scales[0]}). Choose one, or set '
                    'enlarge_lq: true.'
                )
        self._kept: dict[tuple[str, float], np.ndarray] = {}

    def __getitem__(self, index: int) -> dict:
        path, opt = self.paths[index], self.opt
        if self.training:
            scale = random.choice(self.scales)
            image = self._reduced(index, random.choice(self.augment_scales), scale)
            # anywhere, or on an LR pixel where lq has LR size
            top, left = random_corner(image, self.gt_size, path, 1 if self.enlarge_lq else scale)
            gt, lq = self._pair(image, scale, top, left, self.gt_size, self.gt_size)
            gt, lq = augment([gt, lq], opt.get('use_hflip', True), opt.get('use_rot', True))
        else:
            scale = self.scales[0]
            image = mod_crop(self._image(index, 1), scale)
            gt, lq = self._pair(image, scale, 0, 0, *image.shape[:2])
        gt, lq = img2tensor([gt, lq], bgr2rgb=True, float32=True)
        return {'gt': gt, 'lq': lq, 'gt_path': path, 'lq_path': path}

    # ------------------------------------------------------------------ images
    def _image(self, index: int, factor: float) -> np.ndarray:
        """uint8 BGR image, reduced by a factor of the augmentation."""
        path = self.paths[index]
        if (path, factor) in self._kept:
            return self._kept[path, factor]
        image = self.read(path)
        if factor != 1:
            image = (imresize(as_float(image), factor).clip(0, 1) * 255).round().astype(np.uint8)
        if self.opt.get('cache', False):
            self._kept[path, factor] = image
        return image

    def _reduced(self, index: int, factor: float, scale: int) -> np.ndarray:
        """The image after the augmentation, cut to a multiple of the scale; without, where the crop would not fit."""
        image = mod_crop(self._image(index, factor), scale)
        fits = min(image.shape[:2]) >= self.gt_size
        return image if fits else mod_crop(self._image(index, 1), scale)

    def _pair(
        self, image: np.ndarray, scale: int, top: int, left: int, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A crop and its degraded counterpart, computed from as much of the image around it as matters."""
        rows, columns = _around(top, height, image.shape[0], scale), _around(left, width, image.shape[1], scale)
        lr = bicubic_downscale(_tensor(as_float(image[rows, columns])), scale)
        lr = (lr.clamp(0, 1) * 255).round() / 255
        lq = _tensor(self._coloured(_array(lr)))
        size = 1 if self.enlarge_lq else scale
        if self.enlarge_lq:
            lq = bicubic_upscale(lq, scale)
        inner_top, inner_left = (top - rows.start) // size, (left - columns.start) // size
        lq = lq[..., inner_top : inner_top + height // size, inner_left : inner_left + width // size]
        gt = self._coloured(as_float(image[top : top + height, left : left + width]))
        return gt, _array(lq)

    def _coloured(self, image: np.ndarray) -> np.ndarray:
        """Float BGR, or its luminance as one channel."""
        return bgr2ycbcr(image, y_only=True)[..., None] if self.opt.get('color') == 'y' else image


def _around(start: int, length: int, limit: int, scale: int) -> slice:
    """A crop's rows or columns with the context that decides ``lq``, on whole LR pixels, within the image."""
    first = max(0, start // scale - _CONTEXT)
    last = -(-(start + length) // scale) + _CONTEXT
    return slice(first * scale, min(limit, last * scale))


def _tensor(image: np.ndarray) -> torch.Tensor:
    """(1, c, h, w) of (h, w, c)."""
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def _array(images: torch.Tensor) -> np.ndarray:
    """(h, w, c) of (1, c, h, w)."""
    return np.ascontiguousarray(images[0].permute(1, 2, 0).numpy())
