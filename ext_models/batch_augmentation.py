"""Batch augmentations: the pairs of a training batch mixed with each other, on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ext_arch.resize import bicubic_downscale

PROBABILITY = {'minimum': 0, 'maximum': 1}
POSITIVE = {'exclusiveMinimum': 0}
KINDS = ('mixup', 'cutmix', 'resizemix', 'cutblur')


@dataclass(kw_only=True)
class BatchAugmentation:
    """Mixes the pairs of a batch: the option section ``train:augment``. In each iteration one way is drawn, or none.

    Pair i gets a partner j by a random permutation. M is 1 in a box of the LQ grid, 0 outside; on ground truths the
    same box, enlarged. x is LQ and ground truth alike, but in cutblur, which leaves the ground truth as it is:

    * mixup: ``l x_i + (1 - l) x_j``, l from Beta(a, a). Zhang et al., mixup, ICLR 2018; a = 1.2 for super-resolution
      is that of Yoo et al.
    * cutmix: ``(1 - M) x_i + M x_j``. The box has sqrt(1 - l) of the sides, l uniform, its centre lies anywhere; what
      is outside is cut. Yun et al., CutMix, ICCV 2019.
    * resizemix: ``(1 - M) x_i + M resize(x_j)``: the whole partner, reduced by a uniform factor (antialiased bicubic,
      clamped). Qin et al., ResizeMix, arXiv:2012.11101.
    * cutblur: ``(1 - M) lq + M gt``, or with 1 - M for M, as likely. Where LQ images are smaller, gt is reduced to
      their size by MATLAB's bicubic: clean and degraded regions in one image. With LQ images that are bicubic
      themselves this changes nothing. Yoo et al., Rethinking Data Augmentation for Image Super-resolution, CVPR 2020.

    Raises:
        ValueError: If the probabilities add up to 0 or to more than 1, or ``resizemix_range`` is none.
    """

    mixup: Annotated[float, PROBABILITY, 'Probability of the weighted mean of two pairs.'] = 0.0
    cutmix: Annotated[float, PROBABILITY, 'Probability of a box out of another pair.'] = 0.0
    resizemix: Annotated[float, PROBABILITY, 'Probability of another pair, reduced, in a box.'] = 0.0
    cutblur: Annotated[float, PROBABILITY, 'Probability of a box, or all but a box, without degradation.'] = 0.0
    mixup_alpha: Annotated[float, POSITIVE, 'Of the Beta distribution of the weights.'] = 1.2
    resizemix_range: Annotated[Sequence[float], 'Smallest and largest factor on the sides.'] = (0.1, 0.8)
    cutblur_ratio: Annotated[float, POSITIVE | {'maximum': 1}, 'Side of the box relative to that of the image.'] = 0.7

    def __post_init__(self) -> None:
        if not sum(self.probabilities):
            raise ValueError(f'none of {", ".join(KINDS)} has a probability above 0. Give one, or remove the section.')
        if sum(self.probabilities) > 1 + 1e-9:
            raise ValueError(f'the probabilities of {", ".join(KINDS)} add up to more than 1. Lower them.')
        if len(self.resizemix_range) != 2 or not 0 < self.resizemix_range[0] <= self.resizemix_range[1] <= 1:
            raise ValueError(
                f'resizemix_range must be two numbers above 0 and up to 1, the smaller first, but is '
                f'{list(self.resizemix_range)}.'
            )

    @property
    def probabilities(self) -> list[float]:
        """Those of ``KINDS``, in their order."""
        return [getattr(self, kind) for kind in KINDS]

    @torch.no_grad()
    def __call__(self, rng: np.random.Generator, lq: Tensor, gt: Tensor, *others: Tensor) -> list[Tensor]:
        """A batch, mixed.

        Args:
            rng (np.random.Generator): All draws come from it.
            lq (Tensor): Low-quality images, range [0, 1].
            gt (Tensor): Ground truths, range [0, 1].
            others (Tensor): What is to be mixed as the ground truths are.

        Shape:
            lq: (n, c, h, w). gt and others: (n, c, s h, s w), s a whole number. Output: as the input.
        """
        kind = ('', *KINDS)[rng.choice(5, p=[max(0, 1 - sum(self.probabilities)), *self.probabilities])]
        order = torch.from_numpy(rng.permutation(len(lq))).to(lq.device)
        height, width = lq.shape[-2:]
        images = [lq, gt, *others]
        if kind == 'mixup':
            share = rng.beta(self.mixup_alpha, self.mixup_alpha)
            return [share * image + (1 - share) * image[order] for image in images]
        if kind == 'cutmix':
            side, box = (1 - rng.uniform()) ** 0.5, []
            for whole in (height, width):
                centre, half = int(rng.integers(whole)), int(whole * side) // 2
                box.append((max(centre - half, 0), min(centre + half, whole)))
            return [_pasted(image, image[order], box, image.shape[-2] // height) for image in images]
        if kind == 'resizemix':
            smallest, largest = self.resizemix_range
            box = _box(rng, height, width, rng.uniform(smallest, largest))
            mixed = []
            for image in images:
                scale = image.shape[-2] // height
                size = [scale * (end - start) for start, end in box]
                small = F.interpolate(image[order], size=size, mode='bicubic', antialias=True).clamp(0, 1)
                mixed.append(_pasted(image, small, box, scale, whole=True))
            return mixed
        if kind == 'cutblur':
            scale = gt.shape[-2] // height
            sharp = gt if scale == 1 else bicubic_downscale(gt, scale).clamp(0, 1)
            box = _box(rng, height, width, float(np.clip(rng.normal(self.cutblur_ratio, 0.01), 0, 1)))
            inside = rng.uniform() < 0.5
            return [_pasted(lq, sharp, box) if inside else _pasted(sharp, lq, box), gt, *others]
        return images


def _box(rng: np.random.Generator, height: int, width: int, ratio: float) -> list[tuple[int, int]]:
    """Rows and columns, from and to, of a box of this part of both sides, anywhere in the image."""
    sides = [(whole, max(1, int(whole * ratio))) for whole in (height, width)]
    starts = [int(rng.integers(whole - cut + 1)) for whole, cut in sides]
    return [(start, start + cut) for start, (_, cut) in zip(starts, sides, strict=True)]


def _pasted(images: Tensor, others: Tensor, box: list[tuple[int, int]], scale: int = 1, whole: bool = False) -> Tensor:
    """Images with a box out of others, or with the whole others in the box; the box is enlarged by ``scale``."""
    (top, bottom), (left, right) = box
    place = (..., slice(top * scale, bottom * scale), slice(left * scale, right * scale))
    mixed = images.clone()
    mixed[place] = others if whole else others[place]
    return mixed
