"""What the tests of the small networks have in common."""

import pytest
import torch
from basicsr.archs import build_network
from torch import Tensor, nn

from ext_arch.resize import bicubic_upscale


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


def assert_gradient_everywhere(net: nn.Module, channels: int) -> None:
    """Backward from the squared output of a training pass reaches all parameters."""
    net.train()(images(channels)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def assert_pre_upsampled(type: str, **arguments) -> None:
    """'always' takes inputs of HR size, 'training' does so in training alone; the weights are the same."""
    never, always, training = (
        loosened(make(type, upscale=3, pre_upsampled=when, **arguments)) for when in ('never', True, 'training')
    )
    lr = images(1)
    hr = bicubic_upscale(lr, 3)
    expected = never(lr)
    assert expected.shape == (2, 1, 21, 27)
    assert torch.equal(always(hr), expected)
    assert torch.equal(training.train()(hr), expected)
    assert torch.equal(training.eval()(lr), expected)
    for net in (always, never):  # the mode decides for 'training' alone
        assert torch.equal(net.train()(lr), net.eval()(lr))
    assert always(images(3)).shape == (2, 3, 7, 9)
    with pytest.raises(ValueError, match="pre_upsampled must be 'never', 'training' or 'always', but is 'often'"):
        make(type, pre_upsampled='often')


def assert_refusals(type: str) -> None:
    """What all small networks refuse."""
    for scale in (1, 5, 8):
        with pytest.raises(ValueError, match=f'upscale must be 2, 3 or 4, but is {scale}'):
            make(type, upscale=scale)
    with pytest.raises(ValueError, match='num_out_ch must equal num_in_ch, but they are 3 and 1'):
        make(type, num_out_ch=3)
    with pytest.raises(ValueError, match=rf'{type} takes images of 3 channels \(num_in_ch\), but got 1'):
        make(type, num_in_ch=3, num_out_ch=3)(torch.rand(1, 1, 8, 8))
    for training in (False, True):
        with pytest.raises(ValueError, match=r'takes images of 1 channels .* but got 4'):
            make(type).train(training)(torch.rand(1, 4, 8, 8))
