"""Losses of somebody's own, and small trainings of every model to add them to. Registers the losses."""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from degradation import degradation_options, unpaired
from recipes import batches, options
from tiny_energy import TinyEnergy  # noqa: F401  # registers it
from torch import Tensor, nn

SGD = {'type': 'SGD', 'lr': 0.05}
GAN = {'type': 'AdversarialLoss', 'loss_weight': 5e-3}


@LOSS_REGISTRY.register()
class SquaredLoss(nn.Module):
    """w mean (sr - gt)^2, by hand."""

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        return self.loss_weight * (sr - gt).square().mean()


@LOSS_REGISTRY.register()
class RememberingLoss(SquaredLoss):
    """Grows with the number of times that it was asked."""

    def __init__(self, loss_weight: float = 1.0):
        super().__init__(loss_weight)
        self.register_buffer('asked', torch.zeros(()))

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        self.asked += 1
        return self.asked * super().forward(sr, gt)


@LOSS_REGISTRY.register()
class InputLoss(SquaredLoss):
    """w mean lq times the squared error: it needs the network's input, and remembers what it got."""

    def forward(self, sr: Tensor, gt: Tensor, lq: Tensor) -> Tensor:
        self.seen = [*getattr(self, 'seen', []), lq]
        return lq.mean() * super().forward(sr, gt)


@LOSS_REGISTRY.register()
class MapLoss(SquaredLoss):
    """Not one number but one for each image."""

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        return self.loss_weight * (sr - gt).square().flatten(1).mean(dim=1)


@LOSS_REGISTRY.register()
class NothingLoss(SquaredLoss):
    """As a perceptual loss whose weights are 0."""

    def forward(self, sr: Tensor, gt: Tensor) -> tuple[None, None]:
        return None, None


def _of_pairs(model_type: str, **train) -> dict:
    return options(model_type, discriminator='UNetDiscriminatorSN', gan_opt=GAN, optim_d=SGD, **train)


def supervised(**train) -> dict:
    return options('ExtSRModel', discriminator=None, optim_g=SGD, **train)


def gan(**train) -> dict:
    return _of_pairs('GANSRModel', optim_g=SGD, **train)


def masked(**train) -> dict:
    return _of_pairs('MaskGANModel', optim_g=SGD, mask_opt={'type': 'ErrorMask', 'error_scale': 10.0}, **train)


def energy(**train) -> dict:
    opt = options(
        'EnergyGANModel',
        optim_g=SGD,
        optim_d=SGD,
        gan_opt={'type': 'EnergyGANLoss'},
        gp_opt={'type': 'EnergyGradientPenalty'},
        **train,
    )
    opt['network_d'] = {'type': 'TinyEnergy'}
    return opt


def adaptation(**train) -> dict:
    opt = _of_pairs('DomainAdaptationSRModel', optim_g=SGD, **train)
    opt['train']['gan_opt'] = {'type': 'FrequencyGANLoss'}
    return opt


def degradation(**train) -> dict:
    return degradation_options(optim_g=SGD, **train)


def degradation_gan(**train) -> dict:
    return degradation_options(adversarial=True, optim_g=SGD, optim_d=SGD, **train)


MODELS = {make.__name__: make for make in (supervised, gan, masked, energy, adaptation, degradation, degradation_gan)}


def data_for(name: str, count: int = 2, size: int = 2) -> list[dict[str, Tensor]]:
    """Batches that a model of ``MODELS`` takes."""
    if 'degradation' in name:
        return unpaired(count, size)
    return batches(count, size, gt_size=32)
