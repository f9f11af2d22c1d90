"""The mask-aided GAN under its own name."""

from dataclasses import dataclass
from typing import Annotated

from basicsr.utils.registry import MODEL_REGISTRY

from ext_models.gan_sr_model import GANSRModel


@MODEL_REGISTRY.register()
class MaskGANModel(GANSRModel):
    """``GANSRModel`` that insists on its mask, so that a recipe cannot lose it unnoticed.

    The mask is a view (``train:mask_opt``, see ``ErrorMask``), which any GAN recipe takes; with k = 0 and b = 1 this
    model equals its unmasked base bit for bit.

    Reference: mask-aided GAN super-resolution, eq. 8.
    """

    @dataclass(kw_only=True)
    class TrainOptions:
        """Keys of ``train`` that are not optional here."""

        mask_opt: Annotated[dict, 'The mask of what the discriminator sees.']
