"""Kernels, bandwidths and estimates of the maximum mean discrepancy against double loops in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ext_losses import mmd
from ext_losses.mmd import Kernel, mmd2

KERNELS = {
    'DAN': Kernel(),
    'median': Kernel(bandwidth='median'),
    'one fixed': Kernel(bandwidth=3.0, num=1),
    'four, normalised': Kernel(bandwidth=3.0, mul=1.5, num=4, normalize=True),
    'linear': Kernel('linear'),
    'poly2': Kernel('poly2'),
}
FIXED = [name for name, kernel in KERNELS.items() if kernel.name != 'rbf' or kernel.bandwidth == 3.0]
RFF = [name for name, kernel in KERNELS.items() if kernel.name == 'rbf']


def sets(n: int = 6, m: int = 5, d: int = 4, shift: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x, shift + torch.randn(m, d, generator=generator, dtype=torch.float64)


def reference_bandwidth(kernel: Kernel, x: np.ndarray, y: np.ndarray) -> float:
    joint = np.concatenate([x, y])
    pairs = sorted(((a - b) ** 2).sum() for i, a in enumerate(joint) for b in joint[:i])
    if kernel.bandwidth == 'mean':
        return sum(pairs) / len(pairs)
    return pairs[(len(pairs) - 1) // 2] if kernel.bandwidth == 'median' else kernel.bandwidth


def reference_kernel(kernel: Kernel, bandwidth: float, a: np.ndarray, b: np.ndarray) -> float:
    if kernel.name == 'linear':
        return (a * b).sum()
    if kernel.name == 'poly2':
        return ((a * b).sum() / len(a)) ** 2
    exponents = range(-(kernel.num // 2), kernel.num - kernel.num // 2)
    values = [math.exp(-((a - b) ** 2).sum() / (bandwidth * kernel.mul**u)) for u in exponents]
    return sum(values) / (kernel.num if kernel.normalize else 1)


def reference(kernel: Kernel, x: np.ndarray, y: np.ndarray, unbiased: bool) -> float:
    """Three double loops."""
    bandwidth = reference_bandwidth(kernel, x, y)

    def mean(first: np.ndarray, second: np.ndarray, skip: bool) -> float:
        values = [
            reference_kernel(kernel, bandwidth, a, b)
            for i, a in enumerate(first)
            for j, b in enumerate(second)
            if not (skip and i == j)
        ]
        return sum(values) / len(values)

    return mean(x, x, unbiased) + mean(y, y, unbiased) - 2 * mean(x, y, False)


@pytest.mark.parametrize('name', KERNELS)
@pytest.mark.parametrize('estimator', ['biased', 'unbiased'])
def test_equals_the_double_loop(name, estimator):
    x, y = sets()
    expected = reference(KERNELS[name], x.numpy(), y.numpy(), estimator == 'unbiased')
    assert abs(expected) > 1e-3
    for chunk in (None, 4):
        assert mmd2(x, y, KERNELS[name], estimator, chunk).item() == pytest.approx(expected, rel=1e-12)


def evaluate(kernel: Kernel, estimator: str):
    def value(x: Tensor, y: Tensor) -> Tensor:
        torch.manual_seed(1)  # rff draws in each call
        return mmd2(x, y, kernel, estimator, num_features=16)

    return value


@pytest.mark.parametrize(
    ('name', 'estimator'),
    [(name, estimator) for name in FIXED for estimator in ('biased', 'unbiased')]
    + [(name, 'rff') for name in FIXED if name in RFF],
)
def test_gradients_equal_finite_differences(name, estimator):
    x, y = sets(4, 3, 3)
    assert torch.autograd.gradcheck(
        evaluate(KERNELS[name], estimator), (x.requires_grad_(), y.requires_grad_()), eps=1e-6, atol=1e-8, rtol=1e-6
    )


@pytest.mark.parametrize('heuristic', ['mean', 'median'])
@pytest.mark.parametrize('estimator', ['biased', 'unbiased', 'rff'])
def test_heuristic_bandwidths_are_constants_for_the_gradient(heuristic, estimator):
    x, y = sets()
    x.requires_grad_()
    bandwidth = Kernel(bandwidth=heuristic).bandwidths(x, y)[2].item()
    gradients = [
        torch.autograd.grad(evaluate(Kernel(bandwidth=choice), estimator)(x, y), x)[0]
        for choice in (heuristic, bandwidth)
    ]
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize('name', KERNELS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_equal_sets_give_zero_and_no_gradient(name, dtype):
    x = sets()[0].to(dtype).requires_grad_()
    value = mmd2(x, x.detach().clone(), KERNELS[name])
    value.backward()
    assert value.item() == 0
    assert x.grad.abs().max() < 1e-6


@pytest.mark.parametrize('kernel', [Kernel(), Kernel(bandwidth='median'), Kernel('linear'), Kernel('poly2')])
def test_sets_of_equal_samples_have_finite_gradients(kernel):
    """Flat images: all distances are 0, and so are the heuristics."""
    x = torch.full((3, 5), 0.3, requires_grad=True)
    value = mmd2(x, torch.full((3, 5), 0.3), kernel)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(x.grad).all()


def test_random_features_give_the_biased_estimate_on_average():
    """Student's t over draws is below 4; few features serve, since only the spread depends on their number."""
    x, y = sets(20, 15)
    torch.manual_seed(0)
    errors = torch.stack([mmd2(x, y, estimator='rff', num_features=32) for _ in range(400)]) - mmd2(x, y)
    standard_error = errors.std() / len(errors) ** 0.5
    assert abs(errors.mean()) < 4 * standard_error
    assert standard_error < 0.02 * mmd2(x, y)


def test_random_features_are_drawn_anew_from_the_global_generator():
    x, y = sets()
    torch.manual_seed(0)
    first, second = (mmd2(x, y, estimator='rff', num_features=8) for _ in range(2))
    torch.manual_seed(0)
    assert mmd2(x, y, estimator='rff', num_features=8) == first
    assert first != second


@pytest.mark.parametrize('name', RFF)
def test_chunks_do_not_change_the_value_of_random_features(name):
    x, y = (z.float() for z in sets(70, 45, 12))
    values = []
    for chunk in (None, 16, 1000):
        torch.manual_seed(0)
        values.append(mmd2(x, y, KERNELS[name], 'rff', chunk=chunk).item())
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


def test_chunks_bound_the_matrices(monkeypatch):
    shapes, original = set(), mmd.squared_distances
    monkeypatch.setattr(mmd, 'squared_distances', lambda x, y: shapes.add((len(x), len(y))) or original(x, y))
    with torch.no_grad():
        mmd2(*sets(70, 45), chunk=16)
    assert max(max(shape) for shape in shapes) == 16


def test_median_of_large_sets_compares_a_bounded_number(monkeypatch):
    monkeypatch.setattr(mmd, 'MEDIAN_SAMPLES', 16)
    x, y = sets(70, 45, shift=0)
    expected = mmd.median_distance(*torch.cat([x, y])[::8].split([9, 6]))
    assert mmd.median_distance(x, y) == expected


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'name': 'cubic'}, r"kernel: 'cubic'.*rbf, linear, poly2"),
        ({'bandwidth': 'mode'}, r"bandwidth: must be mean or median, or a positive number.*'mode'"),
        ({'bandwidth': 0}, 'bandwidth: .*is 0'),
        ({'num': 0}, 'kernel_num: '),
        ({'mul': 0.0}, 'kernel_mul: '),
    ],
)
def test_unknown_kernels_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Kernel(**options)


X, Y = sets()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((X, Y, Kernel(), 'best'), r"estimator: 'best'.*biased, unbiased, rff"),
        ((X, Y, Kernel('linear'), 'rff'), 'rff approximates kernel rbf only, but kernel is linear'),
        ((X, Y[:, :3]), r'\(6, 4\) and \(5, 3\).*same size'),
        ((X, Y[:1], Kernel(), 'unbiased'), r'unbiased needs at least 2 sample\(s\) of each set, but got 6 and 1'),
        ((X[:0], Y), 'got 0 and 5'),
    ],
)
def test_estimates_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mmd2(*arguments)
    assert mmd2(X, Y[:1]) > 0
