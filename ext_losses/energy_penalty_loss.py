"""The gradient penalty of an energy GAN: real images are to lie at a minimum of the energy."""

from collections.abc import Sequence

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from ext_losses.energy_loss import energies

INPUT, PARAMETERS = 'input', 'params'


@LOSS_REGISTRY.register()
class EnergyGradientPenalty(nn.Module):
    """Squared norm of the energy's gradient at real images.

    wrt 'input':   loss_weight * E || d U(x) / d x ||^2, the sum over the channels and pixels of an image
    wrt 'params':  loss_weight * || d E U(x) / d theta ||^2, theta being the discriminator's trainable weights

    The text wants the gradient to vanish "at the data points", which is 'input'; the printed symbol is theta. The mean
    over images stands inside the second norm, because one gradient for each image would cost as many passes.

    U is in mean units (see ``EnergyGANLoss``) and x in [0, 1], as the discriminator gets it: ``loss_weight`` means
    something with these only. For sums instead of means over the 3 h w values it would be divided by 3 h w, for x in
    [-1, 1] multiplied by 4. For 'input' and the margin of ``EnergyGANLoss`` 10 is a light touch; the unbounded form
    needs 100 to be held for a while. For 'params' take about 0.02: that gradient is thousands of times larger. Energies
    of features (``energy_space: feature``) need a weight of their own: compare ``l_d_gp`` with ``l_d_real`` in the log.
    With ``train:accumulate`` 'params' is the mean over chunks of each chunk's squared norm.

    Args:
        loss_weight (float): Factor, lambda. Default: 10.0.
        wrt (str): 'input' or 'params'. Default: 'input'.
        every (int): Compute it in every Nth iteration only, N times as strong. Default: 1.

    Shape:
        output: of the discriminator on real images, (n,) or (n, ...).
        variables: the discriminator's input (n, c, h, w), or its weights.
        Result: float32 scalar that can be differentiated again.

    Raises:
        ValueError: If an argument is none of the above.

    Reference: VGG-energy GAN, eq. 5; Mescheder et al., Which Training Methods for GANs do actually Converge?, ICML
    2018, eq. 9 (R1); Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020,
    section 3.1 (every).
    """

    def __init__(self, loss_weight: float = 10.0, wrt: str = INPUT, every: int = 1):
        super().__init__()
        if wrt not in (INPUT, PARAMETERS):
            raise ValueError(f"wrt must be '{INPUT}' or '{PARAMETERS}', but is {wrt!r}.")
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(f'every must be a whole number from 1 on, but is {every!r}.')
        if not loss_weight >= 0:
            raise ValueError(f'loss_weight must be 0 or more, but is {loss_weight!r}.')
        self.loss_weight = loss_weight
        self.wrt = wrt
        self.every = every

    def forward(self, output: Tensor, variables: Tensor | Sequence[Tensor]) -> Tensor:
        energy = energies(output)
        if self.wrt == INPUT:  # an image's energy depends on that image only, so the sum has all their gradients
            (gradient,) = torch.autograd.grad(energy.sum(), variables, create_graph=True)
            squared = gradient.square().flatten(1).sum(dim=1).mean()
        else:
            gradients = torch.autograd.grad(energy.mean(), variables, create_graph=True, allow_unused=True)
            squared = torch.stack([gradient.square().sum() for gradient in gradients if gradient is not None]).sum()
        return self.loss_weight * self.every * squared
