"""What SRCNN, VDSR, ESPCN and FSRCNN have in common: sizes, gradients, inputs of HR size, refusals."""

import pytest
import torch
from small_networks import count, images, loosened, make, without_gradient

from ext_arch.resize import bicubic_upscale

TINY = {
    'SRCNN': {'num_feat': (8, 4)},
    'VDSR': {'num_feat': 8, 'num_conv': 5},
    'ESPCN': {'num_feat': (8, 4)},
    'FSRCNN': {'d': 8, 's': 4, 'm': 2},
}
SIZES = [
    ('SRCNN', {}, 57_281),  # 9-5-5 is the default
    ('SRCNN', {'kernel_sizes': (9, 5, 5), 'num_in_ch': 3, 'num_out_ch': 3}, 69_251),
    ('SRCNN', {'kernel_sizes': (9, 1, 5), 'num_in_ch': 3, 'num_out_ch': 3}, 20_099),
    ('VDSR', {'bias': False}, 664_704),
    ('VDSR', {'bias': True, 'num_in_ch': 3, 'num_out_ch': 3}, 668_227),
    ('ESPCN', {'upscale': 4}, 24_752),
    ('ESPCN', {'upscale': 4, 'num_in_ch': 3, 'num_out_ch': 3}, 37_200),
    ('FSRCNN', {}, 12_809),
]


@pytest.mark.parametrize(('type', 'arguments', 'parameters'), SIZES)
def test_parameter_counts(type, arguments, parameters):
    assert count(make(type, **arguments)) == parameters


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('type', TINY)
def test_gradient_of_a_training_pass_reaches_every_parameter(type, channels, scale):
    net = loosened(make(type, num_in_ch=channels, num_out_ch=channels, upscale=scale, **TINY[type]))
    net.train()(images(channels)).square().sum().backward()
    assert without_gradient(net) == set()


@pytest.mark.parametrize('type', ['SRCNN', 'VDSR'])
def test_inputs_of_hr_size(type):
    """'always' takes inputs of HR size, 'training' does so in training alone; the weights are the same."""
    never, always, training = (
        loosened(make(type, upscale=3, pre_upsampled=when, **TINY[type])) for when in ('never', True, 'training')
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


@pytest.mark.parametrize(
    ('type', 'wrong', 'said'),
    [
        ('SRCNN', {'kernel_sizes': (9, 5)}, 'kernel_sizes must be three odd numbers'),
        ('SRCNN', {'kernel_sizes': (9, 4, 5)}, 'kernel_sizes must be three odd numbers'),
        ('SRCNN', {'num_feat': (64, 32, 16)}, 'num_feat must be the two numbers'),
        ('ESPCN', {'num_feat': (64,)}, 'num_feat must be the two numbers'),
        ('VDSR', {'num_conv': 1}, 'num_conv must be at least 2, but is 1'),
        *(
            ('FSRCNN', wrong, 'd and s must be at least 1 and m at least 0')
            for wrong in ({'d': 0}, {'s': 0}, {'m': -1})
        ),
        *((type, {'upscale': 5}, 'upscale must be 2, 3 or 4, but is 5') for type in (*TINY, 'SRResNet')),
        *((type, {'num_out_ch': 3}, 'num_out_ch must equal num_in_ch, but they are 3 and 1') for type in TINY),
    ],
)
def test_refuses(type, wrong, said):
    with pytest.raises(ValueError, match=said):
        make(type, **wrong)


@pytest.mark.parametrize('type', TINY)
def test_other_channels_are_refused(type):
    with pytest.raises(ValueError, match=rf'{type} takes images of 3 channels \(num_in_ch\), but got 1'):
        make(type, num_in_ch=3, num_out_ch=3)(torch.rand(1, 1, 8, 8))
    for training in (False, True):
        with pytest.raises(ValueError, match=r'takes images of 1 channels .* but got 4'):
            make(type).train(training)(torch.rand(1, 4, 8, 8))
