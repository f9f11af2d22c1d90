"""Maximum mean discrepancy of two sets of vectors, (n, d) and (m, d): kernels, bandwidths and estimates.

    MMD^2(P, Q) = E k(x, x') + E k(y, y') - 2 E k(x, y),   x, x' ~ P,  y, y' ~ Q

which is the squared distance of the means of P and Q in the kernel's feature space; with a Gaussian kernel it is zero
only if P = Q. Reference: Gretton et al., A Kernel Two-Sample Test, JMLR 2012.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

KERNELS = ('rbf', 'linear', 'poly2')
HEURISTICS = ('mean', 'median')
ESTIMATORS = ('biased', 'unbiased', 'rff')
# Length of the vectors up to which poly2's features, d^2 of them, are written out (64 MiB of float32).
LONGEST_POLY2 = 4096
# Seed of the frequencies of random features that stay the same.
FIXED_SEED = 0
# Samples of the joint set that the median heuristic compares with each other at most (16 MiB of float32 distances).
MEDIAN_SAMPLES = 2048
# Squared distance below which bandwidths do not fall. Sets of equal samples would divide 0 by 0.
MINIMUM_BANDWIDTH = 1e-12


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """||x_i - y_j||^2 = ||x_i||^2 + ||y_j||^2 - 2 x_i . y_j, (n, m), not below 0.

    Both sets are moved by the mean of ``y`` first, which changes no distance and spares digits. No square root is
    taken anywhere: its gradient at 0 is infinite.
    """
    centre = y.detach().mean(dim=0)
    x, y = x - centre, y - centre
    distances = x.square().sum(dim=1, keepdim=True) + y.square().sum(dim=1) - 2 * x @ y.T
    return distances.clamp_min(0)


@torch.no_grad()
def mean_distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean of ||z_i - z_j||^2 over the pairs i != j of the joint set, without a matrix of distances.

    sum_{i != j} ||z_i - z_j||^2 / (N^2 - N) = 2 sum_i ||z_i - mean z||^2 / (N - 1)
    """
    joint = torch.cat([x, y])
    return 2 * (joint - joint.mean(dim=0)).square().sum() / (len(joint) - 1)


@torch.no_grad()
def median_distance(x: Tensor, y: Tensor) -> Tensor:
    """Median (the lower one) of ||z_i - z_j||^2 over the pairs i < j of the joint set.

    Of more than ``MEDIAN_SAMPLES`` samples, evenly spaced ones are taken.
    """
    joint = torch.cat([x, y])
    joint = joint[:: -(-len(joint) // MEDIAN_SAMPLES)]
    rows, columns = torch.triu_indices(len(joint), len(joint), 1, device=joint.device)
    return squared_distances(joint, joint)[rows, columns].median()


@dataclass(frozen=True)
class Kernel:
    """A kernel k(a, b) on vectors.

    rbf:     sum_u exp(-||a - b||^2 / bw_u),   bw_u = bw * mul^(u - num // 2),   u = 0 .. num - 1
    linear:  a . b, so that MMD is the distance of the means
    poly2:   (a . b / d)^2, so that MMD is the distance of the second moments: of one image's feature positions, that
             of the Gram matrices (Li et al., Demystifying Neural Style Transfer, IJCAI 2017)

    Args:
        name (str): ``rbf``, ``linear`` or ``poly2``. Default: ``rbf``.
        bandwidth (str | float): bw, a squared distance. ``mean`` or ``median`` of the squared distances within the
            joint set, as constants (no gradient flows through them), or a number (2 sigma^2). Only ``rbf``.
            Default: ``mean``.
        mul (float): Ratio of successive bandwidths. Only ``rbf``. Default: 2.0.
        num (int): Number of bandwidths. Only ``rbf``. Default: 5.
        normalize (bool): Divide the sum over bandwidths by their number. Default: False.

    Raises:
        ValueError: If an argument is none of these.

    Reference: Long et al., Learning Transferable Features with Deep Adaptation Networks (DAN), ICML 2015, for several
    bandwidths. The defaults are those in common use with it.
    """

    name: str = 'rbf'
    bandwidth: str | float = 'mean'
    mul: float = 2.0
    num: int = 5
    normalize: bool = False

    def __post_init__(self) -> None:
        if self.name not in KERNELS:
            raise ValueError(f'kernel: {self.name!r} is not supported; there are {", ".join(KERNELS)}.')
        if self.bandwidth not in HEURISTICS and (isinstance(self.bandwidth, str) or not self.bandwidth > 0):
            raise ValueError(
                f'bandwidth: must be {" or ".join(HEURISTICS)}, or a positive number (a squared distance), '
                f'but is {self.bandwidth!r}.'
            )
        if self.num < 1:
            raise ValueError(f'kernel_num: must be 1 or more, but is {self.num}.')
        if self.mul <= 0:
            raise ValueError(f'kernel_mul: must be positive, but is {self.mul}.')

    def bandwidths(self, x: Tensor, y: Tensor) -> Tensor:
        """bw_u for the sets ``x`` (n, d) and ``y`` (m, d): (num,), without a graph."""
        if self.bandwidth == 'mean':
            middle = mean_distance(x, y)
        elif self.bandwidth == 'median':
            middle = median_distance(x, y)
        else:
            middle = x.new_full((), float(self.bandwidth))
        powers = torch.arange(self.num, dtype=x.dtype, device=x.device) - self.num // 2
        return middle.clamp_min(MINIMUM_BANDWIDTH) * self.mul**powers

    def matrix(self, x: Tensor, y: Tensor, bandwidths: Tensor) -> Tensor:
        """k(x_i, y_j), (n, m). ``bandwidths`` are those of the whole sets, see :meth:`bandwidths`."""
        if self.name == 'linear':
            return x @ y.T
        if self.name == 'poly2':
            return (x @ y.T / x.shape[1]).square()
        distances = squared_distances(x, y)
        total = torch.zeros_like(distances)
        for bandwidth in bandwidths:
            total = total + torch.exp(-distances / bandwidth)
        return total * self.scale

    def diagonal(self, x: Tensor) -> Tensor:
        """k(x_i, x_i), (n,)."""
        if self.name == 'rbf':
            return x.new_full((len(x),), self.num * self.scale)
        norms = x.square().sum(dim=1)
        return norms if self.name == 'linear' else (norms / x.shape[1]).square()

    @property
    def scale(self) -> float:
        """Factor on the sum over bandwidths."""
        return 1 / self.num if self.normalize else 1.0


DAN = Kernel()


def mmd2(
    x: Tensor,
    y: Tensor,
    kernel: Kernel = DAN,
    estimator: str = 'biased',
    chunk: int | None = None,
    num_features: int = 1024,
) -> Tensor:
    """Estimate the squared maximum mean discrepancy of two samples.

    biased:    mean_ij k(x_i, x_j) + mean_ij k(y_i, y_j) - 2 mean_ij k(x_i, y_j); >= 0, and positive also where P = Q
    unbiased:  the same with the pairs i = j left out of the first two means; 0 on average where P = Q, may be < 0
    rff:       || mean phi(x) - mean phi(y) ||^2 with random features phi(a) . phi(b) ~ k(a, b), drawn anew in each call
               from torch's global generator; approximates the biased estimate in time and memory linear in n + m

    Args:
        x (Tensor): Sample of P, (n, d).
        y (Tensor): Sample of Q, (m, d), of the same dtype. Use float32 or float64: the distances lose 14 % in bfloat16.
        kernel (Kernel): Default: Gaussian with five bandwidths, mean heuristic.
        estimator (str): ``biased``, ``unbiased`` or ``rff``. Default: ``biased``.
        chunk (int | None): Samples taken at a time: kernel matrices are made in blocks of at most chunk x chunk and
            summed in float64. Without a graph (``torch.no_grad``) memory is then that of few blocks, for sets of tens
            of thousands. Default: None, all at once.
        num_features (int): Frequencies of ``rff``. Default: 1024.

    Returns:
        Tensor: Scalar, of x's dtype.

    Raises:
        ValueError: If the sets do not fit together, hold too few samples, or an option is unknown.

    Reference: Gretton et al., JMLR 2012, eq. 3 (unbiased) and 5 (biased).
    """
    check_estimator(kernel, estimator)
    check_sets(x, y, estimator)
    bandwidths = kernel.bandwidths(x, y)
    if estimator == 'rff':
        frequencies = draw_frequencies(x, num_features)
        return fourier_difference(x, y, kernel, bandwidths, frequencies, chunk).square().sum()
    n, m = len(x), len(y)
    xx, yy, xy = (_kernel_sum(kernel, a, b, bandwidths, chunk) for a, b in ((x, x), (y, y), (x, y)))
    if estimator == 'unbiased':
        xx = (xx - kernel.diagonal(x).sum(dtype=xx.dtype)) * n / (n - 1)
        yy = (yy - kernel.diagonal(y).sum(dtype=yy.dtype)) * m / (m - 1)
    return (xx / n**2 + yy / m**2 - 2 * xy / (n * m)).to(x.dtype)


def draw_frequencies(like: Tensor, count: int) -> Tensor:
    """Random directions of the features, standard normal, (count, d), of the dtype and device of ``like`` (n, d)."""
    return torch.randn(count, like.shape[1], dtype=like.dtype, device=like.device)


def fixed_frequencies(like: Tensor, count: int) -> Tensor:
    """The same shape and distribution as :func:`draw_frequencies`, but equal in each call, process and resumed run.

    Drawn in float32 on the CPU from a generator of its own, so neither dtype nor device change them.
    """
    generator = torch.Generator().manual_seed(FIXED_SEED)
    return torch.randn(count, like.shape[1], generator=generator).to(like)


def mean_difference(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    """mean phi(x) - mean phi(y) for the polynomial kernels, whose feature map, phi(a) . phi(b) = k(a, b), is finite.

    linear:  phi(z) = z
    poly2:   phi(z) = z z^T / d, flattened

    Args:
        x, y (Tensor): (n, d) and (m, d).
        kernel (Kernel): ``linear`` or ``poly2``. For ``rbf`` see :func:`fourier_difference`.

    Returns:
        Tensor: (d,), or (d^2,).

    Raises:
        ValueError: If ``poly2`` gets vectors longer than ``LONGEST_POLY2``.
    """
    if kernel.name == 'linear':
        return x.mean(dim=0) - y.mean(dim=0)
    if x.shape[1] > LONGEST_POLY2:
        raise ValueError(
            f'norm: l1 with kernel: poly2 compares d^2 features, too many for samples of d = {x.shape[1]} values: '
            'take space: patch, pixel or feature.'
        )
    first, second = (z.T @ z / (z.shape[1] * len(z)) for z in (x, y))
    return (first - second).flatten()


def fourier_difference(
    x: Tensor, y: Tensor, kernel: Kernel, bandwidths: Tensor, frequencies: Tensor, chunk: int | None = None
) -> Tensor:
    """mean phi(x) - mean phi(y), (2 * num * D,), whose squared length estimates MMD^2.

    phi(z) = [cos(W_u z), sin(W_u z)]_u / sqrt(D),   rows of W_u ~ N(0, 2 / bw_u)

    so that E phi(a) . phi(b) = sum_u exp(-||a - b||^2 / bw_u). Cosine and sine in pairs have less variance than a
    cosine with random phase, and depend on differences of samples only, as the kernel does. All bandwidths share the
    draw, scaled. For a mere shift of one set the estimate's relative error is about sqrt(2 / D), 4 % with 1024; it is
    less for sets that differ in many directions.

    Args:
        x, y (Tensor): (n, d) and (m, d).
        kernel (Kernel): An ``rbf`` one.
        bandwidths (Tensor): (num,), see :meth:`Kernel.bandwidths`.
        frequencies (Tensor): (D, d), see :func:`draw_frequencies`.
        chunk (int | None): Samples taken at a time. Default: None, all.

    Reference: Rahimi & Recht, Random Features for Large-Scale Kernel Machines, NIPS 2007; Sutherland & Schneider, On
    the Error of Random Fourier Features, UAI 2015.
    """
    scales = (2 / bandwidths).sqrt().view(1, -1, 1)

    def mean_features(z: Tensor) -> Tensor:
        total = z.new_zeros(2 * scales.numel() * len(frequencies))
        for part in z.split(chunk or len(z)):
            angles = scales * (part @ frequencies.T).unsqueeze(1)
            total = total + torch.cat([angles.cos(), angles.sin()], dim=1).sum(dim=0).flatten()
        return total / len(z)

    return (mean_features(x) - mean_features(y)) * (kernel.scale / len(frequencies)) ** 0.5


def check_estimator(kernel: Kernel, estimator: str) -> None:
    """Raise ValueError for an unknown estimator, or one that the kernel does not have."""
    if estimator not in ESTIMATORS:
        raise ValueError(f'estimator: {estimator!r} is not supported; there are {", ".join(ESTIMATORS)}.')
    if estimator == 'rff' and kernel.name != 'rbf':
        raise ValueError(f'estimator: rff approximates kernel rbf only, but kernel is {kernel.name}: use biased.')


def check_sets(x: Tensor, y: Tensor, estimator: str) -> None:
    """Raise ValueError unless ``x`` (n, d) and ``y`` (m, d) are sets that the estimator can compare."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f'MMD compares sets of vectors of one length, (n, d) and (m, d), but got {tuple(x.shape)} and '
            f'{tuple(y.shape)}: crops (or channels) of both sets must have the same size.'
        )
    needed = 2 if estimator == 'unbiased' else 1
    if min(len(x), len(y)) < needed:
        raise ValueError(
            f'estimator: {estimator} needs at least {needed} sample(s) of each set, but got {len(x)} and {len(y)}: '
            f'enlarge the batch, take space: patch, or use estimator: biased.'
        )


def _kernel_sum(kernel: Kernel, x: Tensor, y: Tensor, bandwidths: Tensor, chunk: int | None) -> Tensor:
    """Sum of k(x_i, y_j) over all i and j. In float64, as MMD is a small difference of large sums.

    Added up as it goes: a list of the blocks' sums would, on the CPU, keep the freed blocks' memory from being used
    again.
    """
    total = x.new_zeros((), dtype=torch.float64)
    for a in x.split(chunk or len(x)):
        for b in y.split(chunk or len(y)):
            total = total + kernel.matrix(a, b, bandwidths).sum(dtype=torch.float64)
    return total
