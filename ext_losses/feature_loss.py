"""Perceptual and style loss in VGG features, in place of BasicSR's PerceptualLoss."""

from collections.abc import Callable, Mapping

import torch
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


def frobenius(x: Tensor, y: Tensor) -> Tensor:
    """Frobenius norm of the difference over the whole batch (no square, no mean), in at least float32."""
    return torch.linalg.vector_norm(x - y, dtype=torch.promote_types(x.dtype, torch.float32))


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between channels, F F^T / (c h w), in float32 also under autocast.

    The unscaled products would overflow float16.

    Shape:
        features: (n, c, h, w). Output: (n, c, c).

    Reference: Johnson et al., Perceptual Losses for Real-Time Style Transfer and Super-Resolution, ECCV 2016, eq. 3.
    """
    with torch.autocast(features.device.type, enabled=False):
        flat = features.flatten(2)
        if flat.dtype in (torch.float16, torch.bfloat16):
            flat = flat.float()
        return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {'l1': F.l1_loss, 'l2': F.mse_loss, 'fro': frobenius}


@LOSS_REGISTRY.register()
class VGGFeatureLoss(nn.Module):
    r"""Distance of VGG features (perceptual loss) and of their Gram matrices (style loss).

    percep = perceptual_weight * sum_l w_l d(s phi_l(x), s phi_l(gt))
    style  = style_weight * sum_l w_l d(G(s phi_l(x)), G(s phi_l(gt))),   G(F) = F F^T / (c h w)

    d is the mean absolute error (l1), the mean squared error (l2) or the Frobenius norm over the batch (fro). Arguments
    and values are those of BasicSR's PerceptualLoss (whose l2 does not run). Different are: the weights' origin (see
    ``ext_arch.pretrained``), features of ``gt`` without a graph, the option ``weights``, and ``feature_scale``.

    Args:
        layer_weights (Mapping[str, float]): Layer to its factor w_l, for instance {conv5_4: 1}; conv is before ReLU,
            relu after it.
        vgg_type (str): ``vgg19`` or ``vgg16``. Default: ``vgg19``.
        use_input_norm (bool): Normalise the images by ImageNet's mean and standard deviation. Default: True.
        range_norm (bool): The images are in [-1, 1] instead of [0, 1]. Default: False.
        perceptual_weight (float): Factor on the perceptual loss; 0 leaves it out. Default: 1.0.
        style_weight (float): Factor on the style loss; 0 leaves it out. Default: 0.
        criterion (str): ``l1``, ``l2`` or ``fro``. Default: ``l1``.
        weights (str | None): Path of VGG's weights, ``random`` for untrained ones (tests), None for a local file, else
            torchvision's download. Default: None.
        feature_scale (float): s, on features before either distance. SRGAN uses 1/12.75 = 0.0784. Default: 1.0.

    Shape:
        x, gt: (n, 3, h, w), RGB in [0, 1]. Output: (percep, style), scalars, each None where its weight is 0.

    Raises:
        ValueError, OSError: If a layer, the VGG or the criterion is unknown, no weights can be had, or images are too
            small.

    Reference: Johnson et al., Perceptual Losses for Real-Time Style Transfer and Super-Resolution, ECCV 2016;
    Ledig et al. (SRGAN), CVPR 2017, eq. 5; Wang et al. (ESRGAN), ECCVW 2018, section 3.3 (before ReLU).
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float],
        vgg_type: str = 'vgg19',
        use_input_norm: bool = True,
        range_norm: bool = False,
        perceptual_weight: float = 1.0,
        style_weight: float = 0.0,
        criterion: str = 'l1',
        weights: str | None = None,
        feature_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if criterion not in CRITERIA:
            raise ValueError(f'criterion: {criterion!r} is not supported; there are {", ".join(CRITERIA)}.')
        self.criterion = CRITERIA[criterion]
        self.layer_weights = dict(layer_weights)
        self.perceptual_weight = perceptual_weight
        self.style_weight = style_weight
        self.feature_scale = feature_scale
        self.vgg = ARCH_REGISTRY.get('VGGFeatures')(
            layers=list(layer_weights),
            vgg_type=vgg_type,
            weights=weights,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
        )

    def forward(self, x: Tensor, gt: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Perceptual and style loss of ``x`` against ``gt``, see the class."""
        with torch.no_grad():
            target = self.vgg(gt)
        return self.compare(self.vgg(x), target)

    def compare(
        self, features: Mapping[str, Tensor], target: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor | None]:
        """The same from features that :attr:`vgg`, or another pass of the same layers, gave for ``x`` and ``gt``."""
        features, target = self._scaled(features), self._scaled(target)
        percep = style = None
        if self.perceptual_weight > 0:
            percep = self.perceptual_weight * self._distance(features, target)
        if self.style_weight > 0:
            grams = {layer: gram_matrix(feature) for layer, feature in features.items()}
            target_grams = {layer: gram_matrix(feature) for layer, feature in target.items()}
            style = self.style_weight * self._distance(grams, target_grams)
        return percep, style

    def _scaled(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.feature_scale == 1:
            return {layer: features[layer] for layer in self.layer_weights}
        return {layer: features[layer] * self.feature_scale for layer in self.layer_weights}

    def _distance(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> Tensor:
        terms = [weight * self.criterion(x[layer], y[layer]) for layer, weight in self.layer_weights.items()]
        return torch.stack(terms).sum()
