"""What training does to the energy: an autoencoder of real images prefers blurred ones; the contrast cures that."""

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from torch import Tensor

from ext_arch.resize import bicubic_downscale, bicubic_upscale


@pytest.fixture(scope='module')
def photographs() -> dict[str, Tensor]:
    """(3, h, w) in [0, 1]."""
    data = pytest.importorskip('skimage.data', reason='the photographs come with scikit-image')
    images = {name: getattr(data, name)() for name in ('astronaut', 'coffee', 'rocket', 'chelsea')}
    return {name: torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1) for name, image in images.items()}


def crops(images: list[Tensor], count: int, generator: torch.Generator) -> Tensor:
    def below(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    chosen = []
    for _ in range(count):
        image = images[below(len(images))]
        y, x = below(image.shape[1] - 16), below(image.shape[2] - 16)
        chosen.append(image[:, y : y + 16, x : x + 16])
    return torch.stack(chosen)


def blurred(images: Tensor) -> Tensor:
    return bicubic_upscale(bicubic_downscale(images, 4), 4).clamp(0, 1)


def test_energies_of_real_blurred_and_noisy_images(photographs):
    """The share of images of a photograph that training never saw whose energy exceeds that of their real version."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = build_network({'type': 'VGGUAE', 'vgg_type': 'vgg16', 'weights': 'random', 'num_conv': 1})
    objective = build_loss({'type': 'EnergyGANLoss'})
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    held_out = crops([photographs['chelsea']], 64, generator)
    noisy = (held_out + 5 / 255 * torch.randn(held_out.shape, generator=generator)).clamp(0, 1)
    train = [image for name, image in photographs.items() if name != 'chelsea']

    def step(contrast: bool) -> None:
        real = crops(train, 4, generator)
        losses = objective.discriminator_losses(net(real), net(blurred(real)))
        optimizer.zero_grad()
        (sum(losses.values()) if contrast else losses['l_d_real']).backward()
        optimizer.step()

    @torch.no_grad()
    def shares() -> tuple[float, float]:
        real, *others = (net(images).flatten(1).mean(dim=1) for images in (held_out, blurred(held_out), noisy))
        return tuple((energy > real).float().mean().item() for energy in others)

    for _ in range(45):
        step(contrast=False)
    of_blurred, of_noisy = shares()
    assert of_blurred < 0.3  # upside down: such an energy would teach a generator to blur
    assert of_noisy > 0.9
    optimizer.param_groups[0]['lr'] = 6e-4
    for _ in range(80):
        step(contrast=True)
    assert shares()[0] > 0.7  # noise, which the contrast did not have, is not cured
