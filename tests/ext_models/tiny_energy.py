"""A small energy network, registered by the tests that import this module."""

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


@ARCH_REGISTRY.register()
class TinyEnergy(nn.Module):
    """U(x) = mean (AE(x) - x)^2 of an autoencoder with a quarter of the resolution. (n, 3, h, w) to (n, 1)."""

    def __init__(self, num_feat: int = 4):
        super().__init__()
        self.encoder = nn.Conv2d(3, num_feat, 5, 4, 2)
        self.decoder = nn.Conv2d(num_feat, 3, 3, 1, 1)

    def reconstruct(self, x: Tensor) -> Tensor:
        code = F.leaky_relu(self.encoder(x), 0.2)
        return F.interpolate(self.decoder(code), size=x.shape[-2:], mode='nearest').float()

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()  # once, so that under autocast the gradients of input and target are added in float32
        error = self.reconstruct(x) - x
        return error.square().flatten(1).mean(dim=1, keepdim=True)
