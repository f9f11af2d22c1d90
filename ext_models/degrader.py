"""LR images made while training: the option section ``degrade``."""

import random
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Annotated, Any

import torch
from basicsr.data.transforms import paired_random_crop
from basicsr.utils import USMSharp
from torch import Tensor, nn

from ext_data.samples import own_draws, seed_everything
from ext_models.degradations import build_degradation
from ext_models.degrading import in_levels, noisy


class Degrader:
    """Makes the low-quality images of a training batch: the option section ``degrade``.

    Each sample is degraded by itself, in float32, with random generators that are seeded by the run's seed and the
    sample's epoch and position. So neither the batch nor the number of processes matters, and a resumed run draws what
    the uninterrupted one would have. Batches that have no ``sample_key`` (of a loader that is not ours) draw from the
    generators as they are.

    Args:
        degradation (nn.Module): See :mod:`ext_models.degradations`; on the device.
        scale (int): HR size / LR size.
        seed (int): Seed of the run.
        queue_size, gt_size, gt_usm, noise, shot_noise: See ``Options``.
    """

    @dataclass(kw_only=True)
    class Options:
        """Keys of the section ``degrade`` beside the degradation's arguments."""

        queue_size: Annotated[
            int,
            {'minimum': 0},
            'Pairs in a pool, at least a batch. Once it is full, each batch is exchanged for pairs of it, drawn at '
            'random. Of use where the samples of a batch are alike; here each is degraded by itself. 0: no pool.',
        ] = 0
        gt_size: Annotated[
            int | None,
            {'minimum': 1},
            'Side of the crops after the degradation, a multiple of the scale; ~ to keep those of the dataset. Larger '
            'crops in datasets:train keep the border of the image, which filters have mirrored, mostly out.',
        ] = None
        gt_usm: Annotated[
            bool,
            'Sharpen the ground truth as Real-ESRGAN does (unsharp masking): low-quality images are made of the '
            'sharpened image, losses compare with it, and the discriminator sees the real one as it is.',
        ] = False
        noise: Annotated[
            list[float] | None,
            'Smallest and largest standard deviation, in levels of 255, of white Gaussian noise on the low-quality '
            'images; each draws its own. ~: none.',
        ] = None
        shot_noise: Annotated[
            list[float] | None,
            'Likewise of noise whose variance grows with the brightness: its standard deviation at white. ~: none.',
        ] = None

    def __init__(
        self,
        degradation: nn.Module,
        scale: int,
        seed: int,
        device: torch.device,
        queue_size: int = 0,
        gt_size: int | None = None,
        gt_usm: bool = False,
        noise: Sequence[float] | None = None,
        shot_noise: Sequence[float] | None = None,
    ):
        for key, bounds in (('noise', noise), ('shot_noise', shot_noise)):
            if bounds is not None and not (len(bounds) == 2 and 0 <= bounds[0] <= bounds[1]):
                raise ValueError(f'{key}: must be two numbers, 0 <= low <= high, in levels of 255, but is {bounds}.')
        if gt_size is not None and gt_size % scale:
            raise ValueError(f'gt_size: {gt_size} is no multiple of scale ({scale}).')
        self.degradation, self.scale, self.seed = degradation.eval().requires_grad_(False).to(device), scale, seed
        self.device, self.queue_size, self.gt_size = device, queue_size, gt_size
        self.sharpen = USMSharp().to(device) if gt_usm else None
        self.noise = (noise or (0, 0), shot_noise or (0, 0)) if noise or shot_noise else None
        self.pool: tuple[Tensor, Tensor] | None = None

    @classmethod
    def from_options(cls, section: Mapping[str, Any], scale: int, seed: int, device: torch.device) -> 'Degrader':
        """The degrader of an option section ``degrade``.

        Raises:
            ValueError, TypeError, OSError: See :func:`ext_models.degradations.build_degradation`; or if ``gt_size`` is
                no multiple of the scale, or ``noise`` or ``shot_noise`` no range.
        """
        keys = {field.name: section[field.name] for field in fields(cls.Options) if field.name in section}
        degradation = {key: value for key, value in section.items() if key not in keys}
        return cls(build_degradation(degradation, scale), scale, seed, device, **keys)

    @torch.no_grad()
    def __call__(self, gt: Tensor, lq: Tensor | None, keys: Sequence[str] | None) -> tuple[Tensor, Tensor, Tensor]:
        """LQ images, what the generator is to make of them, and what is real.

        Args:
            gt (Tensor): Ground truths, float32, range [0, 1].
            lq (Tensor | None): The dataset's low-quality images, which most degradations do not look at.
            keys (Sequence[str] | None): ``sample_key`` of the batch.

        Shape:
            gt: (n, c, h, w). Output: (n, c, h / scale, w / scale) and two of (n, c, h, w); where ``gt_size`` crops, h
            and w are that. The last two are the same without ``gt_usm``.

        Raises:
            ValueError: If the degradation refuses the images, or makes another size of them.
        """
        gt = gt.contiguous()
        source = self._sharpened(gt)
        draws = own_draws(gt.device) if keys is not None else nullcontext()
        with torch.autocast(gt.device.type, enabled=False), draws:
            if getattr(self.degradation, 'DRAWS', True) or self.gt_size is not None or self.noise is not None:
                parts = []
                for index in range(len(gt)):
                    if keys is not None:
                        # the last number keeps the draws apart from those of the dataset's augmentation
                        seed_everything(self.seed, *map(int, keys[index].split()), 1, device=gt.device)
                    own = slice(index, index + 1)
                    made, kept = self._made(source[own], None if lq is None else lq[own]), gt[own]
                    if self.gt_size is not None:
                        why = 'them, or lower degrade:gt_size'
                        kept, made = paired_random_crop(kept, made, self.gt_size, self.scale, why)
                    parts.append((made, kept))
                lq, gt = (torch.cat(images) for images in zip(*parts, strict=True))
            else:
                lq = self._made(source, lq)
        lq, gt = self._exchanged(lq, gt)
        return lq, self._sharpened(gt), gt

    def _made(self, gt: Tensor, lq: Tensor | None) -> Tensor:
        made = self.degradation(gt, lq)
        wanted = (gt.shape[-2] // self.scale, gt.shape[-1] // self.scale)
        if made.shape[-2:] != wanted:
            raise ValueError(
                f'degrade: {type(self.degradation).__name__} makes {tuple(made.shape[-2:])} of {tuple(gt.shape[-2:])} '
                f'(height, width), but scale {self.scale} asks for {wanted}.'
            )
        if self.noise is not None:
            made = noisy(made, *(random.uniform(*bounds) for bounds in self.noise))
        return in_levels(made)

    def _sharpened(self, gt: Tensor) -> Tensor:
        return gt if self.sharpen is None else self.sharpen(gt)

    def _exchanged(self, lq: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        """The batch, or, once the pool is full, as many of its pairs, whose places the batch takes."""
        if not self.queue_size:
            return lq, gt
        if self.pool is None or len(self.pool[0]) + len(lq) <= self.queue_size:
            grown = (lq, gt) if self.pool is None else map(torch.cat, zip(self.pool, (lq, gt), strict=True))
            self.pool = tuple(images.clone() for images in grown)  # type: ignore[assignment]
            return lq, gt
        drawn = torch.randperm(len(self.pool[0]))[: len(lq)].to(lq.device)
        old_lq, old_gt = (images[drawn] for images in self.pool)
        self.pool[0][drawn], self.pool[1][drawn] = lq, gt
        return old_lq, old_gt

    def state_dict(self) -> dict[str, Any]:
        """The pool, where there is one."""
        return {} if self.pool is None else {'pool': [packed(images) for images in self.pool]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        if 'pool' in state and self.queue_size:
            lq, gt = (unpacked(images, self.device) for images in state['pool'])
            self.pool = lq, gt


def packed(images: Tensor) -> Tensor:
    """A copy on the CPU, of images of 256 levels in bytes: a quarter of the size."""
    images = images.detach().cpu().clone()
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8)
    return levels if torch.equal(levels.float() / 255, images) else images


def unpacked(images: Tensor, device: torch.device) -> Tensor:
    """What :func:`packed` was made of."""
    return (images.float() / 255 if images.dtype == torch.uint8 else images).to(device)
