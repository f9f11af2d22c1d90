"""The adversarial step: one pass of each image, views, accumulation, precision, and no synchronisation."""

from unittest import mock

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from degradation import Board
from recipes import PIXEL, batches, build, options, run

RELATIVISTIC = {'type': 'RelativisticAdversarialLoss', 'loss_weight': 5e-3}
CHANNELS_LAST = torch.channels_last
UNIT_MASK = {'type': 'ErrorMask', 'k': 0.0, 'b': 1.0}


def gan(model_type: str = 'GANSRModel', gan_opt: dict = RELATIVISTIC, **kwargs):
    return build(options(model_type, gan_opt=gan_opt, pixel_opt=PIXEL, **kwargs))


def test_each_image_passes_the_discriminator_once():
    model = gan('MaskGANModel', mask_opt=UNIT_MASK)
    seen = []
    model.net_d.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[0]))
    run(model, batches(3, size=2))
    assert seen == [2, 2] * 3


def test_discriminator_step_leaves_the_generator_alone():
    model = gan(net_d_init_iters=2)
    before = [parameter.clone() for parameter in model.net_g.parameters()]
    with mock.patch.object(model.objective, 'generator_loss', side_effect=AssertionError('not now')):
        run(model, batches(2))
    assert all(torch.equal(a, b) for a, b in zip(before, model.net_g.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.net_g.parameters())
    log = run(model, batches(1), start=3)[0]
    assert 'l_g_gan' in log
    assert not torch.equal(before[0], next(model.net_g.parameters()))


def test_chunks_must_divide_the_batch():
    model = gan(accumulate=2)
    with pytest.raises(ValueError, match='train:accumulate'):
        run(model, batches(1, size=3))


def test_weights_behind_spectral_norm_are_channels_last_too():
    model = gan(discriminator='UNetDiscriminatorSN', channels_last=True)
    weights = [weight for name, weight in model.net_d.named_parameters() if name.endswith('weight_orig')]
    assert len(weights) == 8
    assert all(weight.is_contiguous(memory_format=CHANNELS_LAST) for weight in weights)


def test_channels_last_leaves_parameters_of_five_dimensions(monkeypatch):
    network = ARCH_REGISTRY.get('MSRResNet')
    init = network.__init__

    def with_one_more(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.fft = torch.nn.Parameter(torch.ones(4, 1, 1, 8, 5))  # FFTformer's

    monkeypatch.setattr(network, '__init__', with_one_more)
    run(gan(channels_last=True), batches(1))


def test_convolutions_before_a_linear_layer_are_channels_last_too():
    """BasicSR's discriminator flattens its features by ``view``, which wants the plain format."""
    plain, last = (gan(channels_last=setting) for setting in (False, True))
    formats = []
    for layer in last.net_d.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_pre_hook(
                lambda _, x: formats.append(x[0].is_contiguous(memory_format=CHANNELS_LAST))
            )
    assert run(last, batches(1))[-1] == pytest.approx(run(plain, batches(1))[-1], rel=1e-4)
    assert formats == [True] * len(formats)
    assert len(formats) == 20  # ten convolutions, real and fake


@pytest.mark.parametrize(
    ('compile', 'compiled'),
    [(True, 'g'), ({'networks': ['g', 'd']}, 'gd'), ({'networks': ['d'], 'dynamic': True}, 'd')],
)
def test_the_generator_is_compiled_and_others_on_request(compile, compiled):
    with mock.patch('torch.nn.Module.compile', autospec=True) as compiling:
        model = gan(compile=compile)
    names = {model.net_g: 'g', model.net_d: 'd'}
    assert ''.join(names[call.args[0]] for call in compiling.call_args_list) == compiled
    assert all('networks' not in call.kwargs for call in compiling.call_args_list)


def test_gradient_clipping_bounds_the_norm():
    free, clipped = (
        gan(optim_g={'type': 'SGD', 'lr': 1.0}),
        gan(optim_g={'type': 'SGD', 'lr': 1.0}, grad_clip={'type': 'norm', 'max': 1e-5}),
    )
    steps = []
    for model in (free, clipped):
        before = [parameter.clone() for parameter in model.net_g.parameters()]
        run(model, batches(1))
        steps.append(sum((a - b).square().sum() for a, b in zip(before, model.net_g.parameters(), strict=True)).sqrt())
    assert steps[0] > 1e-4
    assert steps[1].item() == pytest.approx(1e-5, rel=1e-2)


def test_basicsr_gan_loss_is_explained():
    with pytest.raises(ValueError, match=r'GANLoss.*AdversarialLoss'):
        gan(gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 1.0})


def test_compiled_networks_train_the_same():
    """Dynamo's tracing without a code generator, which needs a C++ compiler and a minute."""
    reference, compiled = gan(), gan(compile={'backend': 'eager'})
    data = batches(2)
    assert run(compiled, data)[-1] == pytest.approx(run(reference, data)[-1], rel=1e-4)
    assert set(compiled.net_g.state_dict()) == set(reference.net_g.state_dict())  # no '_orig_mod.' in checkpoints


def test_panels_go_to_tensorboard_once_a_validation():
    model = gan('MaskGANModel', mask_opt={'type': 'ErrorMask', 'error_norm': 'mean'})
    model.opt['val'] = {}
    run(model, batches(1, size=5))
    board = Board()
    with mock.patch('basicsr.models.sr_model.SRModel.nondist_validation'):
        model.validation(None, 1, board)
        model.validation(None, 1, board)
    assert set(board.images) == {f'train/{panel}' for panel in ('lq', 'sr', 'gt', 'error', 'mask')}
    for images in board.images.values():
        assert images.shape[0] == 4
        assert 0 <= images.min() <= images.max() <= 1
