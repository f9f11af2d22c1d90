"""The frequency adversarial loss: a GAN on the high frequencies of images, filter and objective in one."""

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor

from ext_losses.adversarial_loss import AdversarialLoss, RelativisticAdversarialLoss
from ext_losses.highpass_loss import HighPassView


class _MinimaxLoss(AdversarialLoss):
    """The generator minimises E log(1 - D(fake)), which is -softplus of the logit."""

    def generator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return -self.criterion(fake_logits, False, is_disc=False)


FORMS: dict[str, type[AdversarialLoss]] = {
    'nonsaturating': AdversarialLoss,
    'minimax': _MinimaxLoss,
    'ragan': RelativisticAdversarialLoss,
}


@LOSS_REGISTRY.register()
class FrequencyGANLoss(HighPassView):
    """Adversarial objective on the high frequencies of both images, HP(x) = x - LP(x).

    With z = D(HP(sr)) and r = D(HP(gt)) as logits, sp = softplus, the generator's loss in the three readings of eq. 7:

    * nonsaturating: L_G = loss_weight * mean sp(-z), with the gradient -sigmoid(-z)
    * minimax, as printed, E log(1 - D): L_G = -loss_weight * mean sp(z), with the gradient -sigmoid(z)
    * ragan: see ``RelativisticAdversarialLoss``

    and L_D = mean sp(-r) + mean sp(z) in the first two. At z = -3, a fake that the discriminator recognises, the
    printed form's gradient is 0.047 and that of the non-saturating one 0.953: with the former the generator learns
    least where it is worst.

    The object is an objective and a view at once (see ``GANSRModel``). ``DomainAdaptationSRModel`` shows the
    discriminator what it returns for (sr, gt), after the views that the option file names, in both players' steps. To
    filter for another objective use ``highpass_opt`` instead.

    The generator's gradient is the filter's transpose of the discriminator's: it has no low frequencies, and its sum
    over the image is 0 with reflected borders. So colour is left to the content losses.

    Args:
        gan_form (str): 'nonsaturating', 'minimax' or 'ragan'. Default: 'nonsaturating'.
        loss_weight (float): Factor on the generator's loss; the discriminator's is never scaled. Default: 0.005.
        filter (str): Low-pass filter: 'gaussian', 'average' or 'haar'. Default: 'gaussian'.
        kernel_size (int): Side of the kernel in pixels, odd; not used by 'haar'. Default: 13.
        sigma (float): Standard deviation of the Gaussian in pixels; used by 'gaussian' only. Default: 2.0.
        pad (str): 'reflect', or 'zero', which shows the discriminator a strong frame. Default: 'reflect'.
        shift (bool): Show 0.5 + 0.5 HP(x). Default: False.

    Shape:
        sr, gt: (n, c, h, w), range [0, 1]. ``forward`` returns two tensors of that shape in float32.
        real_logits, fake_logits: (n, 1) or (n, 1, h, w), any range. Losses are scalars.

    Raises:
        ValueError: If gan_form, filter or pad is unknown, kernel_size is not odd and positive, or sigma not positive.

    Reference: two-stage domain adaptation, stage 2, eq. 7 (minimax, loss_weight 0.005). Which reading was trained, the
    kernel and the border are not printed; 'ragan' is Fritsche et al., Frequency Separation for Real-World
    Super-Resolution, ICCVW 2019.
    """

    def __init__(
        self,
        gan_form: str = 'nonsaturating',
        loss_weight: float = 0.005,
        filter: str = 'gaussian',
        kernel_size: int = 13,
        sigma: float = 2.0,
        pad: str = 'reflect',
        shift: bool = False,
    ):
        super().__init__(filter, kernel_size, sigma, pad, shift)
        if gan_form not in FORMS:
            raise ValueError(f"gan_form must be one of {', '.join(FORMS)}, but is '{gan_form}'.")
        self.objective = FORMS[gan_form](loss_weight=loss_weight)

    def generator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """L_G. Gradients flow to ``fake_logits`` only."""
        return self.objective.generator_loss(real_logits, fake_logits)

    def discriminator_losses(self, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """The summands of L_D, by their name in the log: on real and on generated images."""
        return self.objective.discriminator_losses(real_logits, fake_logits)
