"""Adversarial objectives: both players' losses from one pair of logits, so that each image passes the discriminator
once per iteration."""

import torch
import torch.distributed.nn.functional as distributed
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


@LOSS_REGISTRY.register()
class AdversarialLoss(nn.Module):
    """The standard GAN objective, with BasicSR's ``GANLoss`` as the criterion.

    For ``gan_type: vanilla``, with real and fake logits r and f:
    L_G = loss_weight * mean softplus(-f),   L_D = mean softplus(-r) + mean softplus(f)

    Args:
        gan_type (str): 'vanilla', 'lsgan', 'wgan', 'wgan_softplus' or 'hinge', as BasicSR's. Default: 'vanilla'.
        real_label_val (float): Label of real images. Default: 1.0.
        fake_label_val (float): Label of generated images. Default: 0.0.
        loss_weight (float): Factor on the generator's loss; the discriminator's is never scaled. Default: 1.0.

    Shape:
        real_logits, fake_logits: (n, 1) or (n, 1, h, w), any range. Losses are scalars.

    Reference: Goodfellow et al., Generative Adversarial Networks, NIPS 2014 (non-saturating form); Ledig et al.,
    Photo-Realistic Single Image Super-Resolution Using a GAN, CVPR 2017.
    """

    def __init__(
        self,
        gan_type: str = 'vanilla',
        real_label_val: float = 1.0,
        fake_label_val: float = 0.0,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        self.criterion = LOSS_REGISTRY.get('GANLoss')(gan_type, real_label_val, fake_label_val, loss_weight)

    def generator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """L_G. Gradients must flow to ``fake_logits`` only."""
        return self.criterion(fake_logits, True, is_disc=False)

    def discriminator_losses(self, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """The summands of L_D, by their name in the log: on real and on generated images."""
        return {
            'l_d_real': self.criterion(real_logits, True, is_disc=True),
            'l_d_fake': self.criterion(fake_logits, False, is_disc=True),
        }


@LOSS_REGISTRY.register()
class RelativisticAdversarialLoss(AdversarialLoss):
    """The relativistic average objective of ESRGAN: real images should look more real than fakes do on average.

    With C(x) the logit and sp = softplus, for ``gan_type: vanilla``:
    L_D = (mean sp(-(C(gt) - mean C(sr))) + mean sp(C(sr) - mean C(gt))) / 2
    L_G = loss_weight * (mean sp(C(gt) - mean C(sr)) + mean sp(-(C(sr) - mean C(gt)))) / 2

    As in BasicSR's ESRGANModel the averages are constants in L_D, and C(gt) is a constant in L_G.

    Args:
        global_mean (bool): Average logits over the batches of all ranks, as one process does on the whole batch.
            Default: False, as BasicSR.
        Others: see :class:`AdversarialLoss`.

    Shape:
        As :class:`AdversarialLoss`.

    Raises:
        ValueError: If gan_type is 'hinge', of which the generator's gradient is 0.

    Reference: Wang et al., ESRGAN, ECCVW 2018, eq. 1-2; Jolicoeur-Martineau, The relativistic discriminator, ICLR 2019.
    """

    def __init__(
        self,
        gan_type: str = 'vanilla',
        real_label_val: float = 1.0,
        fake_label_val: float = 0.0,
        loss_weight: float = 1.0,
        global_mean: bool = False,
    ):
        if gan_type == 'hinge':
            raise ValueError(
                "gan_type 'hinge' has no relativistic form: the generator's two terms cancel. Use 'vanilla', or the "
                'standard objective, AdversarialLoss.'
            )
        super().__init__(gan_type, real_label_val, fake_label_val, loss_weight)
        self.global_mean = global_mean

    def _mean(self, logits: Tensor) -> Tensor:
        mean = torch.mean(logits)
        if self.global_mean and torch.distributed.is_initialized():
            # differentiable: its backward sums over ranks, which DDP's averaging of gradients turns into the exact one
            mean = distributed.all_reduce(mean) / torch.distributed.get_world_size()
        return mean

    def generator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real_logits = real_logits.detach()
        on_real = self.criterion(real_logits - self._mean(fake_logits), False, is_disc=False)
        on_fake = self.criterion(fake_logits - self._mean(real_logits), True, is_disc=False)
        return (on_real + on_fake) / 2

    def discriminator_losses(self, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        on_real = self.criterion(real_logits - self._mean(fake_logits.detach()), True, is_disc=True) * 0.5
        on_fake = self.criterion(fake_logits - self._mean(real_logits.detach()), False, is_disc=True) * 0.5
        return {'l_d_real': on_real, 'l_d_fake': on_fake}


@LOSS_REGISTRY.register()
class FocalRelativisticAdversarialLoss(nn.Module):
    """PESR's objective: each real image should look more real than its own fake; hard pairs count more.

    With C(x) the logit, z = C(gt) - C(sr) of a pair, sp = softplus and p = sigmoid(-z):
    L_D = mean sp(-z)
    L_G = loss_weight * mean (1 - p)^gamma * sp(z)

    p is the probability that the fake is the more real one of its pair; where the generator already wins, (1 - p)^gamma
    takes the weight away.

    Args:
        gamma (float): Focusing exponent, 0 or more; 0 is the plain relativistic objective. Default: 1.0.
        detach_weight (bool): Treat the focal weight as a constant. Default: False, as PESR's code.
        loss_weight (float): Factor on the generator's loss; the discriminator's is never scaled. Default: 1.0.

    Shape:
        real_logits, fake_logits: (n, 1) or (n, 1, h, w), any range, the i-th fake belonging to the i-th real.
        Losses are scalars.

    Raises:
        ValueError: If gamma is negative.

    Reference: Vu et al., Perception-Enhanced Image Super-Resolution via Relativistic Generative Adversarial Networks,
    ECCVW 2018.
    """

    def __init__(self, gamma: float = 1.0, detach_weight: bool = False, loss_weight: float = 1.0):
        super().__init__()
        if gamma < 0:
            raise ValueError(f'gamma must be 0 or more, but is {gamma}.')
        self.gamma = gamma
        self.detach_weight = detach_weight
        self.loss_weight = loss_weight

    def generator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """L_G. Gradients must flow to ``fake_logits`` only."""
        z = real_logits.detach() - fake_logits
        weight = torch.sigmoid(z.detach() if self.detach_weight else z) ** self.gamma  # 1 - p = sigmoid(z)
        return self.loss_weight * (weight * F.softplus(z)).mean()

    def discriminator_losses(self, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """L_D, which does not fall into a part on real and one on generated images."""
        return {'l_d': F.softplus(fake_logits - real_logits).mean()}
