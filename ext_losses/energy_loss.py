"""The adversarial objective of an energy GAN: a discriminator that gives an image's energy, low on real images."""

import math
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

REDUCTIONS = ('sum', 'mean')


def energies(output: Tensor, reduction: str = 'mean') -> Tensor:
    """The energy of each image, (n,), at least float32: the output's mean or sum over all but the first dimension."""
    flat = output.to(torch.promote_types(output.dtype, torch.float32)).reshape(len(output), -1)
    return flat.sum(dim=1) if reduction == 'sum' else flat.mean(dim=1)


@LOSS_REGISTRY.register()
class EnergyGANLoss(nn.Module):
    """Low energy U for real images, high for generated ones up to a margin; the generator lowers that of its images.

    L_D = E U(real) + E max(0, m - U(fake)) [+ gradient penalty],   L_G = loss_weight * E U(fake)

    The penalty is ``train:gp_opt``, see ``EnergyGradientPenalty``. Both are read as two explicit objectives: in the one
    L_GAN that is printed, the discriminator, ascending it, would maximise the penalty.

    **Units.** U is the mean of the discriminator's output in L_D, so that the margin and the penalty's weight do not
    depend on resolution. In L_G it is the sum (``energy_reduction``): the gradient of the printed 1e-3 is then 0.1 to
    0.9 of the content loss's; with means it would be 10,000 times weaker, hence absent.

    The margin m bounds L_D: beyond it fakes give the discriminator no gradient. Without one,
    L_D = E U(real) - E U(fake), the printed form, whose energies grow without bound unless something else, such as a
    gradient penalty, holds them.

    The adaptive margin follows the scale of the energy, which depends on resolution, reduction and training time:
    m = margin_ratio * average of E U(real), a constant in the gradient. The average runs over iterations with the
    weights decay^age, and includes the present one:
    s <- decay * s + (1 - decay) * E U(real),   w <- decay * w + (1 - decay),   average = s / w,   s = w = 0 at first.
    Hence it is right from the first iteration. All ranks share it. With ``accumulate`` each chunk counts as an
    iteration. s and w are buffers, so ``state_dict`` holds them. An energy that can reach 0 on real images, which a
    reconstruction error does not, would take this margin to 0 with it: give such a network a fixed one.

    Args:
        margin (str | float | None): 'adaptive', a positive number in units of U, or None for the unbounded form.
            Default: 'adaptive'.
        margin_ratio (float): Adaptive margin over the average real energy, more than 1. Default: 2.0.
        decay (float): Weight of the past in the average, in [0, 1). Default: 0.99.
        energy_reduction (str): 'sum' or 'mean' of the discriminator's output in the generator's loss. The same where
            the output is one number an image. Default: 'sum'.
        loss_weight (float): Factor on the generator's loss; the discriminator's is never scaled. Default: 1e-3.

    Shape:
        real_logits, fake_logits: what the discriminator returns, energies >= 0: (n,), (n, 1), or squared errors
        (n, c, h, w). Losses are float32 scalars.

    Raises:
        ValueError: If an argument is none of the above.

    Reference: VGG-energy GAN, eq. 3-6 (loss_weight 1e-3; margin None); Zhao et al., Energy-based Generative Adversarial
    Networks, ICLR 2017, eq. 1-2 (margin).
    """

    real_sum: Tensor
    real_weight: Tensor

    def __init__(
        self,
        margin: str | float | None = 'adaptive',
        margin_ratio: float = 2.0,
        decay: float = 0.99,
        energy_reduction: str = 'sum',
        loss_weight: float = 1e-3,
    ):
        super().__init__()
        if margin not in ('adaptive', None) and not _is_positive_number(margin):
            raise ValueError(f"margin must be 'adaptive', a positive number or ~ (none), but is {margin!r}.")
        if not margin_ratio > 1:
            raise ValueError(f'margin_ratio must be more than 1, but is {margin_ratio}.')
        if not 0 <= decay < 1:
            raise ValueError(f'decay must be in [0, 1), but is {decay}.')
        if energy_reduction not in REDUCTIONS:
            raise ValueError(f"energy_reduction must be 'sum' or 'mean', but is {energy_reduction!r}.")
        if not loss_weight >= 0:
            raise ValueError(f'loss_weight must be 0 or more, but is {loss_weight!r}.')
        self.margin = margin
        self.margin_ratio = margin_ratio
        self.decay = decay
        self.energy_reduction = energy_reduction
        self.loss_weight = loss_weight
        self.last_statistics: dict[str, Tensor] = {}
        if margin == 'adaptive':
            self.register_buffer('real_sum', torch.zeros(()))
            self.register_buffer('real_weight', torch.zeros(()))

    def generator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """L_G. Gradients flow to ``fake_logits`` only."""
        return self.loss_weight * energies(fake_logits, self.energy_reduction).mean()

    def discriminator_losses(self, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """The two summands of L_D: on real and on generated images. The adaptive margin advances with every call."""
        real, fake = energies(real_logits), energies(fake_logits)
        self.last_statistics = {'energy_gap': (fake.mean() - real.mean()).detach()}
        if self.margin is None:
            return {'l_d_real': real.mean(), 'l_d_fake': -fake.mean()}
        margin: Any = self.margin
        if margin == 'adaptive':
            margin = self.last_statistics['margin'] = self._adapted_margin(real)
        return {'l_d_real': real.mean(), 'l_d_fake': (margin - fake).relu().mean()}

    @torch.no_grad()
    def _adapted_margin(self, real: Tensor) -> Tensor:
        energy = real.mean()
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(energy)
            energy = energy / torch.distributed.get_world_size()
        # an overflow under fp16 costs one iteration, which the gradient scaler skips; it must not stay in the average
        counted = energy.isfinite().to(self.real_sum.dtype) * (1 - self.decay)
        self.real_sum.mul_(1 - counted).add_(counted * energy.nan_to_num(0.0, 0.0, 0.0))
        self.real_weight.mul_(1 - counted).add_(counted)
        average = self.real_sum / self.real_weight.clamp_min(torch.finfo(self.real_weight.dtype).tiny)
        return self.margin_ratio * average

    def statistics(self) -> dict[str, Tensor]:
        """Scalars of the last batch for the log: E U(fake) - E U(real), and the adaptive margin."""
        return self.last_statistics


def _is_positive_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
