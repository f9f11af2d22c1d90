"""Adversarial objectives: both players' losses from one pair of logits, so that each image passes the discriminator
once per iteration."""

import torch
import torch.distributed.nn.functional as distributed
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn


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

    def discriminator_losses(self, real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
        """The two summands of L_D: on real and on generated images."""
        return (self.criterion(real_logits, True, is_disc=True), self.criterion(fake_logits, False, is_disc=True))


@LOSS_REGISTRY.register()
class RelativisticAdversarialLoss(AdversarialLoss):
    """The relativistic average objective of ESRGAN: real images should look more real than fakes do on average.

    With C(x) the logit and sp = softplus, for ``gan_type: vanilla``:
    L_D = (mean sp(-(C(gt) - mean C(sr))) + mean sp(C(sr) - mean C(gt))) / 2
    L_G = loss_weight * (mean sp(C(gt) - mean C(sr)) + mean sp(-(C(sr) - mean C(gt)))) / 2

    As in BasicSR's ESRGANModel the averages are constants in L_D, and C(gt) is a constant in L_G.

    Args:
        global_mean (bool): In distributed training, average logits over the batches of all ranks instead of this
            rank's, so that N processes compute what one does on the whole batch. Default: False, as BasicSR.
        Others: see :class:`AdversarialLoss`.

    Shape:
        As :class:`AdversarialLoss`.

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

    def discriminator_losses(self, real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
        on_real = self.criterion(real_logits - self._mean(fake_logits.detach()), True, is_disc=True) * 0.5
        on_fake = self.criterion(fake_logits - self._mean(real_logits.detach()), False, is_disc=True) * 0.5
        return on_real, on_fake
