"""The adversarial step: one pass of each image, views, accumulation, precision, and no synchronisation."""

from unittest import mock

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from recipes import FEATURE, PIXEL, batches, build, options, run

RELATIVISTIC = {'type': 'RelativisticAdversarialLoss', 'loss_weight': 5e-3}
STANDARD = {'type': 'AdversarialLoss', 'loss_weight': 5e-3}
CHANNELS_LAST = torch.channels_last
UNIT_MASK = {'type': 'ErrorMask', 'k': 0.0, 'b': 1.0}


def gan(model_type: str = 'GANSRModel', gan_opt: dict = RELATIVISTIC, **kwargs):
    return build(options(model_type, gan_opt=gan_opt, pixel_opt=PIXEL, **kwargs))


def weights(model) -> list[torch.Tensor]:
    return [*model.net_g.parameters(), *model.net_d.parameters()]


def test_mask_changes_training_and_is_logged():
    base, masked = gan(), gan('MaskGANModel', mask_opt={'type': 'ErrorMask', 'error_norm': 'mean'})
    data = batches(2)
    run(base, data)
    log = run(masked, data)[-1]
    assert not torch.equal(weights(base)[0], weights(masked)[0])
    assert 0.5 < log['mask_mean'] < 1
    assert log['mask_at_0'] == 0
    assert set(masked.panels()) == {'lq', 'sr', 'gt', 'error', 'mask'}


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


@pytest.mark.parametrize('gan_opt', [STANDARD, RELATIVISTIC])
def test_step_does_not_wait_for_the_device(gan_opt):
    model = gan(
        'MaskGANModel',
        gan_opt,
        perceptual_opt=FEATURE,
        mask_opt={'type': 'ErrorMask'},
        ema_decay=0.9,
        grad_clip={'type': 'norm', 'max': 1.0},
        optim_g={'type': 'SGD', 'lr': 1e-3},  # on the CPU, Adam reads its own step counter
        optim_d={'type': 'SGD', 'lr': 1e-3},
    )
    model.feed_data(batches(1)[0])
    waits = dict.fromkeys(('item', 'tolist', 'cpu', 'numpy', '__bool__', '__float__'), mock.DEFAULT)
    with mock.patch.multiple(torch.Tensor, **waits) as mocks:
        for waiting in mocks.values():
            waiting.side_effect = AssertionError('a synchronisation in the step')
        model.optimize_parameters(1)
    assert len(model.get_current_log()) >= 8


@pytest.mark.parametrize('model_type', ['ExtSRModel', 'GANSRModel'])
def test_accumulated_chunks_equal_the_whole_batch(model_type):
    """Exact for losses that are means over images; BatchNorm and relativistic averages see chunks, hence neither."""
    kwargs = {'pixel_opt': PIXEL}
    if model_type == 'GANSRModel':
        kwargs |= {'gan_opt': STANDARD}
    else:
        kwargs['discriminator'] = None
    data = batches(1, size=4)
    logs, gradients = [], []
    for accumulate in (1, 2, 4):
        model = build(options(model_type, accumulate=accumulate, **kwargs))
        if model_type == 'GANSRModel':
            model.net_d.eval()  # BatchNorm with its running statistics
        logs += run(model, data)
        gradients.append(torch.cat([p.grad.flatten() for p in model.net_g.parameters()]))
    for other in (1, 2):
        assert logs[other] == pytest.approx(logs[0], rel=1e-5)
        torch.testing.assert_close(gradients[other], gradients[0], rtol=1e-4, atol=1e-8)


def test_chunks_must_divide_the_batch():
    model = gan(accumulate=2)
    with pytest.raises(ValueError, match='train:accumulate'):
        run(model, batches(1, size=3))


def test_memory_format_and_mixed_precision_train():
    reference = run(gan(), batches(3))[-1]
    for settings in ({'channels_last': True}, {'amp': 'bf16'}, {'amp': 'bf16', 'channels_last': True}):
        log = run(gan(**settings), batches(3))[-1]
        assert log['l_g_pix'] == pytest.approx(reference['l_g_pix'], rel=0.05), settings
        assert log['l_d_real'] == pytest.approx(reference['l_d_real'], abs=0.2), settings


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


class Board:
    """TensorBoard that remembers."""

    def __init__(self):
        self.images = {}

    def add_images(self, name, images, step):
        assert (name, step) not in self.images, 'written twice'
        self.images[name, step] = images

    def add_scalar(self, name, value, step):
        pass


def test_panels_go_to_tensorboard_once_a_validation():
    model = gan('MaskGANModel', mask_opt={'type': 'ErrorMask', 'error_norm': 'mean'})
    model.opt['val'] = {}
    run(model, batches(1, size=5))
    board = Board()
    with mock.patch('basicsr.models.sr_model.SRModel.nondist_validation'):
        model.validation(None, 1, board)
        model.validation(None, 1, board)
    assert {name for name, _ in board.images} == {f'train/{panel}' for panel in ('lq', 'sr', 'gt', 'error', 'mask')}
    for images in board.images.values():
        assert images.shape[0] == 4
        assert 0 <= images.min() <= images.max() <= 1
