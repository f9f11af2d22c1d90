"""How much noise a camera's photographs have, measured where they are flat."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ext_losses.frequency import LowPass

PATCH = 8  # px
FLATTEST = 0.1  # share of the patches of a brightness that are taken
BINS = 12  # of brightness
CLIPPED = 0.04  # distance from black and white within which noise is cut off
FEWEST = 20  # patches of a brightness


def noise_level(images: Sequence[Tensor]) -> tuple[float, float]:
    """Standard deviation of read and shot noise, in levels of 255, as ``degrade:noise`` and ``shot_noise`` take them.

    The variance of noise is modelled as read^2 + shot^2 x for brightness x in [0, 1]. In each channel the mask
    [1 -2 1; -2 4 -2; 1 -2 1] / 6, which passes white noise with its variance and suppresses planes and edges along the
    axes, gives a residual; patches of 8 px whose blurred image varies least count as flat (the blur, of 2 px, hardly
    sees white noise, so that choosing them does not choose weak noise). The two parameters are fitted to the median
    variance of a brightness by least squares, neither below 0. Fine texture counts as noise; noise that was smoothed,
    by JPEG or by enlarging, is underestimated.

    Args:
        images (Sequence[Tensor]): Photographs, (3, h, w), RGB in [0, 1], at least 16 px wide and high.

    Returns:
        tuple[float, float]: read (at black) and shot (what white has in addition), levels of 255, >= 0. All as read
        where there are too few patches to tell; 0 and 0 where all are black or white.

    Reference: residual: Immerkaer, Fast Noise Variance Estimation, CVIU 1996; model: Foi et al., TIP 2008.
    """
    mask = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]).div(6)[None, None]
    blur = LowPass('gaussian', kernel_size=13, sigma=2.0)
    found = []
    for image in images:
        channels = image.detach().cpu().float()[:, None]
        residual = F.conv2d(F.pad(channels, (1, 1, 1, 1), mode='reflect'), mask)
        smooth = blur(channels)
        level, square = F.avg_pool2d(smooth, PATCH), F.avg_pool2d(smooth**2, PATCH)
        found.append(torch.stack([level, (square - level**2), F.avg_pool2d(residual**2, PATCH)]).flatten(1))
    level, roughness, variance = torch.cat(found, 1).double() if found else torch.zeros(3, 0)
    points = []
    for low in torch.linspace(CLIPPED, 1 - CLIPPED, BINS + 1)[:-1]:
        inside = (level >= low) & (level < low + (1 - 2 * CLIPPED) / BINS)
        if inside.sum() * FLATTEST >= FEWEST:
            chosen = roughness[inside].argsort()[: int(inside.sum() * FLATTEST)]
            points.append((level[inside][chosen].mean(), variance[inside][chosen].median(), len(chosen)))
    inside = (level >= CLIPPED) & (level < 1 - CLIPPED)
    if not points and inside.any():  # few or small images: all brightnesses as one
        chosen = roughness[inside].argsort()[: max(1, int(inside.sum() * FLATTEST))]
        points = [(level[inside][chosen].mean(), variance[inside][chosen].median(), 1)]
    if not points:
        return 0.0, 0.0
    x, y, weight = torch.tensor(points, dtype=torch.float64).T
    design = torch.stack([torch.ones_like(x), x], 1) * weight.sqrt()[:, None]
    target = (y * weight.sqrt())[:, None]
    read, shot = torch.linalg.lstsq(design, target).solution[:, 0].tolist() if len(points) > 1 else (y.item(), 0.0)
    if shot < 0:
        read, shot = ((y * weight).sum() / weight.sum()).item(), 0.0
    elif read < 0:
        read, shot = 0.0, ((x * y * weight).sum() / (x * x * weight).sum()).item()
    return 255 * read**0.5, 255 * shot**0.5
