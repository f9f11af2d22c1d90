"""Maximum mean discrepancy of generated and real images, the loss that closes a domain gap without pairs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.distributed.nn.functional as distributed
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from torch import Tensor, nn

from ext_losses.frequency import HighPass
from ext_losses.mmd import (
    Kernel,
    check_estimator,
    check_sets,
    draw_frequencies,
    fixed_frequencies,
    fourier_difference,
    mean_difference,
    mmd2,
)
from ext_losses.spectrum import relative_spectrum

NORMS = ('squared', 'l2', 'l1')
DRAWS = ('fresh', 'fixed')
SPACES = ('image', 'patch', 'pixel', 'feature', 'spectrum')
HIGHPASS: Mapping[str, Any] = MappingProxyType({'kernel_size': 7, 'sigma': 1.0})


@LOSS_REGISTRY.register()
class MMDLoss(nn.Module):
    """Maximum mean discrepancy of two batches of images that need not show the same things.

    MMD^2(P, Q) = E k(x, x') + E k(y, y') - 2 E k(x, y) = || E phi(x) - E phi(y) ||^2,   x, x' ~ P,  y, y' ~ Q

    phi being the kernel's feature map, phi(a) . phi(b) = k(a, b). ``norm`` chooses MMD^2, MMD, or, where phi can be
    written out, || E phi(x) - E phi(y) ||_1.

    Everything is computed in float32 (float64 where the images are), also under autocast. See ``ext_losses.mmd`` for
    the kernels and estimators; :func:`ext_losses.mmd.mmd2` measures sets of tens of thousands of samples.

    The published loss says neither what a sample is nor which kernel is meant. The defaults take the most common
    reading, each image a sample, with DAN's five Gaussian kernels and the biased estimate. **The high-pass filter is
    ours**: of raw images the loss sees content and colour, and hardly the degradation. Eq. 3 prints a norm of the
    difference of mean features, not squared, and the paper's other norms carry the subscript 1. So its likely reading
    is ``highpass: ~``, ``norm: l1`` with ``kernel: linear`` or ``estimator: rff``.

    The 1-norm is a sum over the features: it grows with their number, of random ones as sqrt(num_features), and its
    gradient does not shrink as the means come together.

    Whole images lie so far apart that the kernels see little of them but their energy: a network can match it by
    damping the middle frequencies, where most of it is, instead of the high ones that the camera lost. ``space:
    spectrum`` compares the shape of the power spectrum (``ext_losses.spectrum.relative_spectrum``), which blur changes
    and contrast does not.

    Args:
        loss_weight (float): Factor on the result. Default: 1.0.
        space (str): What a sample is. ``image``: the whole image; ``patch``: a square of it; ``pixel``: the channels
            of one pixel; ``feature``: those of one position in a layer of VGG; ``spectrum``: the image's power by
            spatial frequency, relative to that at low ones (ours, see below). Default: ``image``.
        patch_size, stride (int): Side and distance of patches in px, for ``patch``. Default: 8, 8.
        highpass (Mapping | None): Options of ``HighPass``, which filters the images first, except in ``spectrum``;
            null: none, in ``feature`` space for VGG on ordinary images.
            Default: {kernel_size: 7, sigma: 1.0}.
        kernel (str): ``rbf``, ``linear`` or ``poly2``. Default: ``rbf``.
        kernel_mul (float): Ratio of the bandwidths of ``rbf``. Default: 2.0.
        kernel_num (int): Number of the bandwidths of ``rbf``. Default: 5.
        bandwidth (str | float): Middle bandwidth of ``rbf``, a squared distance: ``mean`` or ``median`` of those in
            the batch, or a number, which near 1 gives neither value nor gradient on images. Default: ``mean``.
        estimator (str): ``biased``; ``unbiased``, which needs two samples of each set and may be negative; ``rff``,
            random Fourier features, for many samples. Default: ``biased``.
        squared (bool): False is another way to write ``norm: l2``. Default: True.
        normalize_kernels (bool): Mean instead of sum over the bandwidths. Default: False.
        max_samples (int): Random subsets of min(n, m, max_samples) samples are taken of both sets. Default: 1024.
        num_features (int): Frequencies of ``rff``. Default: 1024.
        sync (bool): Estimate from the samples of all ranks, as one process does on the whole batch; batches must have
            one size, and gradients be averaged, as DDP does. Default: False, each rank its own.
        feature_layer (str): Layer of VGG, for ``feature``. Default: ``relu3_3``.
        vgg_type (str): ``vgg19`` or ``vgg16``, for ``feature``. Default: ``vgg19``.
        weights (str | None): VGG's weights, as in ``VGGFeatureLoss``. Default: None.
        norm (str): ``squared``: MMD^2; ``l2``: sqrt(MMD^2 + 1e-8), not for ``unbiased``; ``l1``: the 1-norm of the
            difference of mean features, for ``linear``, ``poly2`` (samples of at most 4096 values) and ``rff``.
            Default: ``squared``.
        draw (str): Frequencies of ``rff``: ``fresh`` ones in each call, or ``fixed``, always the same. They are scaled
            by the bandwidth, so the features stay the same only if that is a number. Default: ``fresh``.

    Shape:
        x: (n, c, h, w), generated, RGB in [0, 1]. y: (m, c, h, w), real; h and w may differ from x's except in
        ``image`` space, which also takes vectors, (n, d) and (m, d), where ``highpass`` is null. Output: scalar.
        Gradients reach whichever input requires them.

    Raises:
        ValueError: If an option is unknown, options contradict each other, or the batches do not fit them.

    Reference: two-stage domain adaptation, eq. 3; Gretton et al., A Kernel Two-Sample Test, JMLR 2012; Long et al.
    (DAN), ICML 2015.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        space: str = 'image',
        patch_size: int = 8,
        stride: int = 8,
        highpass: Mapping[str, Any] | None = HIGHPASS,
        kernel: str = 'rbf',
        kernel_mul: float = 2.0,
        kernel_num: int = 5,
        bandwidth: str | float = 'mean',
        estimator: str = 'biased',
        squared: bool = True,
        normalize_kernels: bool = False,
        max_samples: int = 1024,
        num_features: int = 1024,
        sync: bool = False,
        feature_layer: str = 'relu3_3',
        vgg_type: str = 'vgg19',
        weights: str | None = None,
        norm: str = 'squared',
        draw: str = 'fresh',
    ) -> None:
        super().__init__()
        for name, choice, known in (('space', space, SPACES), ('norm', norm, NORMS), ('draw', draw, DRAWS)):
            if choice not in known:
                raise ValueError(f'{name}: {choice!r} is not supported; there are {", ".join(known)}.')
        sizes = {'patch_size': patch_size, 'stride': stride, 'max_samples': max_samples, 'num_features': num_features}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f'{name}: must be 1 or more, but is {size}.')
        self.kernel = Kernel(kernel, bandwidth, kernel_mul, kernel_num, normalize_kernels)
        check_estimator(self.kernel, estimator)
        if not squared and norm == 'l1':
            raise ValueError('squared: false means norm: l2, but norm is l1. Remove one of both.')
        if norm == 'l1' and (estimator == 'unbiased' or (kernel == 'rbf' and estimator != 'rff')):
            raise ValueError(
                'norm: l1 needs features that can be written out: estimator: rff, or kernel: linear or poly2 with '
                'estimator: biased.'
            )
        if estimator == 'unbiased' and (not squared or norm == 'l2'):
            raise ValueError('norm: l2 (squared: false) needs estimator: biased or rff; unbiased may be negative.')
        self.loss_weight = loss_weight
        self.space = space
        self.patch_size, self.stride = (patch_size, stride) if space == 'patch' else (1, 1)
        self.estimator = estimator
        self.norm = norm if squared else 'l2'
        self.draw = draw
        self.max_samples = max_samples
        self.num_features = num_features
        self.sync = sync
        self._kept_frequencies: Tensor | None = None  # of ``draw: fixed``
        # a relative spectrum needs the low frequencies
        self.highpass = None if highpass is None or space == 'spectrum' else HighPass(**highpass)
        self.feature_layer = feature_layer
        self.vgg = None
        if space == 'feature':
            self.vgg = ARCH_REGISTRY.get('VGGFeatures')(layers=[feature_layer], vgg_type=vgg_type, weights=weights)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Loss of generated ``x`` against real ``y``, see the class."""
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            x, y = self._grid(x.to(dtype)), self._grid(y.to(dtype))
            ranks = self._ranks()
            count = min(sample_count(x), sample_count(y), max(1, self.max_samples // ranks))
            return self.loss_weight * self._value(take_samples(x, count), take_samples(y, count), ranks)

    def _grid(self, images: Tensor) -> Tensor:
        """All samples of a batch in three dimensions of place and three of content, see :func:`patch_grid`."""
        if images.ndim != 4 and (images.ndim != 2 or self.space != 'image' or self.highpass is not None):
            raise ValueError(
                f'MMDLoss needs images (n, c, h, w), but got {tuple(images.shape)}; vectors (n, d) need space: image '
                'and highpass: ~.'
            )
        if self.highpass is not None:
            images = self.highpass(images)
        if self.vgg is not None:
            images = self.vgg(images)[self.feature_layer]
        if self.space == 'spectrum':
            images = relative_spectrum(images)
        if self.space in ('image', 'spectrum'):
            return images.reshape(len(images), 1, 1, -1, 1, 1)
        return patch_grid(images, self.patch_size, self.stride)

    def _ranks(self) -> int:
        synchronised = self.sync and torch.distributed.is_available() and torch.distributed.is_initialized()
        return torch.distributed.get_world_size() if synchronised else 1

    def _value(self, x: Tensor, y: Tensor, ranks: int) -> Tensor:
        """The loss without its weight, of this rank's samples ``x`` and ``y``, (n, d)."""
        check_sets(x, y, self.estimator if ranks == 1 else 'biased')
        if self.norm == 'l1' or self.estimator == 'rff':
            difference = self._mean_difference(x, y, ranks)
            if self.norm == 'l1':
                return difference.abs().sum()
            squared = difference.square().sum()
        else:
            squared = mmd2(*((x, y) if ranks == 1 else (gather(x), gather(y))), self.kernel, self.estimator)
        # the gradient of a root is infinite at 0
        return squared if self.norm == 'squared' else (squared.clamp_min(0) + 1e-8).sqrt()

    def _mean_difference(self, x: Tensor, y: Tensor, ranks: int) -> Tensor:
        """mean phi(x) - mean phi(y) over the samples of all ranks, of which each has equally many."""
        if self.kernel.name != 'rbf':
            difference = mean_difference(x, y, self.kernel)
        else:
            everywhere = (x, y) if ranks == 1 else (gather(x.detach()), gather(y.detach()))
            bandwidths = self.kernel.bandwidths(*everywhere)
            difference = fourier_difference(x, y, self.kernel, bandwidths, self._frequencies(x, ranks))
        return difference if ranks == 1 else distributed.all_reduce(difference) / ranks

    def _frequencies(self, x: Tensor, ranks: int) -> Tensor:
        if self.draw == 'fixed':
            kept = self._kept_frequencies
            if kept is None or kept.shape[1] != x.shape[1] or kept.dtype != x.dtype or kept.device != x.device:
                self._kept_frequencies = kept = fixed_frequencies(x, self.num_features)
            return kept
        frequencies = draw_frequencies(x, self.num_features)
        if ranks > 1:
            torch.distributed.broadcast(frequencies, src=0)
        return frequencies


def patch_grid(images: Tensor, size: int, stride: int) -> Tensor:
    """All patches of a batch, as a view that copies nothing.

    Args:
        images (Tensor): (n, c, h, w).
        size (int): Side of a patch in px.
        stride (int): Distance of neighbouring patches in px. A remainder at the right and lower border is left out.

    Returns:
        Tensor: (n, rows, columns, c, size, size).

    Raises:
        ValueError: If the images are smaller than a patch.
    """
    if min(images.shape[-2:]) < size:
        raise ValueError(
            f'patch_size: {size} is larger than the images of {images.shape[-2]}x{images.shape[-1]} px: '
            'lower it, or enlarge gt_size.'
        )
    return images.unfold(2, size, stride).unfold(3, size, stride).permute(0, 2, 3, 1, 4, 5)


def sample_count(grid: Tensor) -> int:
    """Number of samples in a grid, see :func:`patch_grid`."""
    return grid.shape[:3].numel()


def take_samples(grid: Tensor, count: int) -> Tensor:
    """Take ``count`` samples of a grid: (count, d). All in order, or a random subset; only what is taken is copied."""
    total = sample_count(grid)
    if count == total:
        return grid.reshape(total, -1)
    chosen = torch.randperm(total, device=grid.device)[:count]
    image, row, column = torch.unravel_index(chosen, grid.shape[:3])
    return grid[image, row, column].flatten(1)


def gather(samples: Tensor) -> Tensor:
    """The samples of all ranks, one after the other; its backward sums over ranks, which DDP's averaging undoes."""
    return torch.cat(distributed.all_gather(samples))
