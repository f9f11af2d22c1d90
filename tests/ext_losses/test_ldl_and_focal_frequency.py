"""Locally discriminative learning and the focal frequency loss: NumPy references in float64, gradients, refusals."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from torch.nn import functional as F

SHAPE = (2, 3, 12, 10)


def images(count: int, shape=SHAPE) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, dtype=torch.float64, generator=generator) for _ in range(count)]


def checked(loss, sr: torch.Tensor, *others: torch.Tensor) -> None:
    """The gradient, against finite differences in random directions."""
    assert torch.autograd.gradcheck(lambda x: loss(x, *others), sr.clone().requires_grad_(), fast_mode=True)


# ---------------------------------------------------------------------- LDL
def ldl(sr: np.ndarray, gt: np.ndarray, sr_ema: np.ndarray, window: int) -> float:
    total, reach = 0.0, window // 2
    for n in range(len(sr)):
        residual, averaged = (np.abs(gt[n] - x[n]).sum(0) for x in (sr, sr_ema))
        padded = np.pad(residual, reach, mode='reflect')
        for row, column in np.ndindex(residual.shape):
            if residual[row, column] >= averaged[row, column]:
                local = padded[row : row + window, column : column + window].var(ddof=1)
                weight = residual.var(ddof=1) ** 0.2 * local
                total += weight * np.abs(sr[n, :, row, column] - gt[n, :, row, column]).sum()
    return total / sr.size


@pytest.mark.parametrize('window', [3, 7])
def test_ldl_equals_numpy(window):
    sr, gt, sr_ema = images(3)
    loss = build_loss({'type': 'LDLLoss', 'loss_weight': 0.5, 'window': window})
    expected = 0.5 * ldl(sr.numpy(), gt.numpy(), sr_ema.numpy(), window)
    assert expected > 0
    assert loss(sr, gt, sr_ema).item() == pytest.approx(expected, rel=1e-12)
    checked(loss, sr, gt, sr_ema)


def test_ldl_leaves_details_alone():
    """Where the averaged network is farther from the truth."""
    gt, noise, worse = images(3)
    sr = gt + 0.1 * noise
    loss = build_loss({'type': 'LDLLoss'})
    assert loss(sr, gt, gt + worse + 0.2) == 0
    assert loss(sr, gt, gt) > 0


# ---------------------------------------------------------------------- focal frequency loss
def focal_frequency(x: np.ndarray, gt: np.ndarray, alpha: float, parts: int) -> float:
    height, width = x.shape[2] // parts, x.shape[3] // parts
    values = []
    for n, c, i, j in np.ndindex(*x.shape[:2], parts, parts):
        place = n, c, slice(i * height, (i + 1) * height), slice(j * width, (j + 1) * width)
        rows, columns = (np.exp(-2j * np.pi * np.outer(range(side), range(side)) / side) for side in (height, width))
        spectra = [rows @ image[place] @ columns / np.sqrt(height * width) for image in (x, gt)]
        distance = np.abs(spectra[0] - spectra[1])
        values.append(distance**alpha / (distance**alpha).max() * distance**2)
    return float(np.mean(values))


@pytest.mark.parametrize('parts', [1, 2])
@pytest.mark.parametrize('alpha', [0, 1, 2.5])
def test_focal_frequency_equals_numpy(alpha, parts):
    x, gt = images(2)
    loss = build_loss({'type': 'FocalFrequencyLoss', 'loss_weight': 3, 'alpha': alpha, 'patch_factor': parts})
    expected = 3 * focal_frequency(x.numpy(), gt.numpy(), alpha, parts)
    assert loss(x, gt).item() == pytest.approx(expected, rel=1e-10)
    if alpha == 0:  # Parseval
        assert loss(x, gt).item() == pytest.approx(3 * F.mse_loss(x, gt).item(), rel=1e-10)
        checked(loss, x, gt)


def test_its_weights_are_constants():
    """The gradient is that of the squared distance under fixed weights, and finite where images are equal."""
    x, gt = images(2)
    x.requires_grad_()
    build_loss({'type': 'FocalFrequencyLoss'})(x, gt).backward()
    distance = torch.fft.fft2((x - gt).detach(), norm='ortho')
    weights = distance.abs() / distance.abs().amax((-2, -1), keepdim=True)
    expected = torch.fft.ifft2(2 * weights * distance, norm='ortho').real / x.numel()
    torch.testing.assert_close(x.grad, expected)
    same = gt.clone().requires_grad_()
    build_loss({'type': 'FocalFrequencyLoss'})(same, gt).backward()
    assert (same.grad == 0).all()


@pytest.mark.parametrize('name', ['LDLLoss', 'FocalFrequencyLoss'])
def test_float32_also_under_autocast(name):
    given = [image.float() for image in images(3 if name == 'LDLLoss' else 2)]
    loss = build_loss({'type': name})
    with torch.autocast('cpu', dtype=torch.bfloat16):
        halves = loss(given[0].bfloat16(), *given[1:])
    assert halves.dtype == torch.float32
    torch.testing.assert_close(halves, loss(given[0].bfloat16().float(), *given[1:]))


@pytest.mark.parametrize(
    ('section', 'message'),
    [
        ({'type': 'LDLLoss', 'window': 4}, 'window must be odd and at least 3, but is 4'),
        ({'type': 'FocalFrequencyLoss', 'alpha': -1}, 'alpha must not be negative'),
        ({'type': 'FocalFrequencyLoss', 'patch_factor': 0}, 'patch_factor at least 1'),
    ],
)
def test_refusals(section, message):
    with pytest.raises(ValueError, match=message):
        build_loss(section)


def test_patches_must_fit():
    with pytest.raises(ValueError, match=r'12 x 10 px cannot be cut into 3 x 3 patches\. Change patch_factor'):
        build_loss({'type': 'FocalFrequencyLoss', 'patch_factor': 3})(*images(2))
