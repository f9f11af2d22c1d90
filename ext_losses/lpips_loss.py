"""LPIPS, the learned perceptual distance, as a loss."""

import warnings
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from ext_arch.pretrained import load_feature_weights

BACKBONES = {'alex': 'alexnet', 'vgg': 'vgg16'}
# Smallest side for which the deepest layer is not empty.
MINIMUM_SIZE = {'alex': 31, 'vgg': 16}
# Added to the squared length of features before its root. It is about 100 and more in photographs; where all features
# are 0, which the metric may meet too, the gradient would not be finite without it.
EPSILON = 1e-6


@LOSS_REGISTRY.register()
class LPIPSLoss(nn.Module):
    """LPIPS 0.1 between two batches: the mean of what the metric ``calculate_lpips`` gives for each pair, unrounded.

    L = perceptual_weight * sum_l mean_hw sum_c w_lc (phi_lc(x) / |phi_l(x)| - phi_lc(gt) / |phi_l(gt)|)^2

    phi_l are features of a frozen ImageNet network, w the weights that the package ``lpips`` carries. Computed in
    float32 also under autocast. It takes the place of ``VGGFeatureLoss`` as ``perceptual_opt``.

    Args:
        perceptual_weight (float): Factor on the result. Default: 1.0.
        net (str): Trunk: ``alex`` or ``vgg`` (VGG16). Default: ``alex``.
        weights (str | None): Path of the trunk's weights, ``random`` for untrained ones (tests), None for a local
            file, else torchvision's download. Default: None.

    Shape:
        x, gt: (n, 3, h, w), RGB in [0, 1], h and w at least 31 px, with ``net: vgg`` 16. Output: (percep, None); percep
        is a scalar, None takes the place of a style loss.

    Raises:
        ValueError, OSError: If ``net`` is unknown, the package or the weights are missing, or images are too small.

    Reference: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018.
    """

    def __init__(self, perceptual_weight: float = 1.0, net: str = 'alex', weights: str | None = None) -> None:
        super().__init__()
        if net not in BACKBONES:
            raise ValueError(f'LPIPSLoss: net: {net!r} is not supported; there are {", ".join(BACKBONES)}.')
        self.perceptual_weight = perceptual_weight
        self.minimum_size = MINIMUM_SIZE[net]
        self.lpips: Any = build_lpips(net, weights)

    def forward(self, x: Tensor, gt: Tensor) -> tuple[Tensor, None]:
        """LPIPS of ``x`` against ``gt``, see the class."""
        if min(x.shape[-2:]) < self.minimum_size:
            raise ValueError(
                f'LPIPSLoss: images of {x.shape[-2]} x {x.shape[-1]} px are too small, it needs {self.minimum_size}: '
                'enlarge gt_size, or take net: vgg.'
            )
        with torch.autocast(x.device.type, enabled=False):
            with torch.no_grad():
                targets = self._directions(gt.float())
            distances = [
                layer.model[-1]((direction - target).square()).mean()  # the layer's other part is dropout
                for layer, direction, target in zip(self.lpips.lins, self._directions(x.float()), targets, strict=True)
            ]
        return self.perceptual_weight * torch.stack(distances).sum(), None

    def _directions(self, images: Tensor) -> list[Tensor]:
        """Each layer's features, of length 1 at every position."""
        features = self.lpips.net(self.lpips.scaling_layer(2 * images - 1))
        return [layer * (layer.square().sum(1, keepdim=True) + EPSILON).rsqrt() for layer in features]


def build_lpips(net: str, weights: str | None) -> nn.Module:
    """The package's network, frozen, with the trunk's weights from ``ext_arch.pretrained``, on the CPU.

    Args:
        net (str): ``alex`` or ``vgg``.
        weights (str | None): See :class:`LPIPSLoss`.

    Raises:
        OSError: If ``lpips`` or the weights are missing.
    """
    try:
        import lpips
    except ImportError as error:
        raise OSError('LPIPS needs the package lpips. Install it with: pip install lpips') from error
    state = load_feature_weights(BACKBONES[net], weights)
    # lpips initialises the trunk at random first; a validation must not advance the random state of the training.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    # lpips cuts torchvision's `features` into slices but keeps the numbers: slice2.5.weight is features.5.weight.
    trunk = {key: state[f'features.{key.split(".", 1)[1]}'] for key in model.net.state_dict()}
    model.net.load_state_dict(trunk)
    return model.requires_grad_(False).eval()
