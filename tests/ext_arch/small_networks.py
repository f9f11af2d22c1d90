"""What the tests of the small networks have in common."""

import torch
from basicsr.archs import build_network
from torch import Tensor, nn


def make(type: str, **arguments) -> nn.Module:
    """A registered network, the same weights for the same arguments."""
    torch.manual_seed(0)
    return build_network({'type': type, **arguments})


def count(net: nn.Module) -> int:
    """Parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def images(channels: int, height: int = 7, width: int = 9) -> Tensor:
    """Two random images, float64."""
    return torch.rand(2, channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def loosened(net: nn.Module) -> nn.Module:
    """The network in float64 with weights and biases large enough to matter in its output."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.double().parameters():
            fan_in = max(1, parameter[0].numel())
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / fan_in**0.5)
    return net


def without_gradient(net: nn.Module) -> set[str]:
    """Parameters that the last backward pass has not reached."""
    return {name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()}
