"""What the option check says of ``train:losses``."""

import own_losses  # noqa: F401  # registers losses
import pytest
from check_recipes import find_problems, psnr
from recipes import FEATURE

from ext_core.errors import UserError
from ext_core.options import check

pytestmark = pytest.mark.usefixtures('data')
GAN = {'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3}}


def with_losses(losses, model_type: str = 'ExtSRModel', **train) -> dict:
    opt = psnr() | {'model_type': model_type}
    opt['val']['metrics'].pop('niqe')
    opt['datasets']['train']['num_worker_per_gpu'] = 0
    opt['train'] |= {'losses': losses, **train}
    if model_type == 'GANSRModel':
        opt |= GAN
        opt['train'] |= {'optim_d': opt['train']['optim_g'], 'gan_opt': {'type': 'AdversarialLoss'}}
    return opt


GOOD = {
    "BasicSR's": {'type': 'CharbonnierLoss', 'loss_weight': 0.1},
    'own': {'type': 'SquaredLoss'},
    'asks': {'type': 'InputLoss', 'loss_weight': 0.1},
    'memory': {'type': 'RememberingLoss'},
    'low': {'type': 'LowPassL1Loss', 'kernel_size': 5},
    'distributions': {'type': 'MMDLoss'},
    'vgg': FEATURE,
    'none': None,
}


@pytest.mark.parametrize('model_type', ['ExtSRModel', 'GANSRModel'])
def test_losses_of_everybody_are_in_order(model_type):
    check.check_options(with_losses(GOOD, model_type), is_train=True)


def test_the_list_alone_is_enough():
    opt = with_losses({'own': {'type': 'SquaredLoss'}})
    del opt['train']['pixel_opt']
    check.check_options(opt, is_train=True)


@pytest.mark.parametrize(
    ('losses', 'said'),
    [
        ({'a': {'type': 'MapLoss'}}, 'train:losses:a: MapLoss does not give one number'),
        ({'a': {'type': 'NothingLoss'}}, 'train:losses:a: NothingLoss does not give one number'),
        ({'a': {'type': 'GANLoss', 'gan_type': 'vanilla'}}, 'train:losses:a: GANLoss cannot compare the images'),
        (
            {'a': {'type': 'SquaredLoss', 'loss_wieght': 1}},
            "train:losses:a:loss_wieght: SquaredLoss has no such argument. Did you mean 'loss_weight'?",
        ),
        ({'a': {'type': 'SquaredLoss', 'loss_weight': -1}}, 'train:losses:a:loss_weight must be a number from 0'),
        (
            {'a': {'type': 'SquareLoss'}},
            "train:losses:a:type: there is no loss 'SquareLoss'. Did you mean 'SquaredLoss'",
        ),
        ({'a': {'loss_weight': 1}}, 'train:losses:a:type is missing'),
        ({'a': 5}, 'train:losses must be'),
        ({'a': {'type': 'LowPassL1Loss', 'kernel_size': 4}}, 'train:losses:a: LowPassL1Loss: kernel_size must be odd'),
        ({'pix': {'type': 'SquaredLoss'}}, 'train:losses:pix: the log has another value of this name'),
        (
            {'vgg': FEATURE, 'vgg_style': {'type': 'SquaredLoss'}},
            'train:losses:vgg_style: the log has another value of this name',
        ),
    ],
)
def test_each_fault_is_named_by_its_place(losses, said):
    with pytest.raises(UserError) as refused:
        check.check_options(with_losses(losses, 'GANSRModel'), is_train=True)
    assert said in str(refused.value)


def test_only_the_list_gets_the_networks_input():
    with pytest.raises(UserError, match='train:pixel_opt: InputLoss cannot compare the images of the training'):
        check.check_options(with_losses(None, pixel_opt={'type': 'InputLoss'}), is_train=True)


def test_a_view_is_no_perceptual_loss():
    with pytest.raises(UserError, match='train:perceptual_opt: ErrorMask does not give two losses'):
        check.check_options(with_losses(None, perceptual_opt={'type': 'ErrorMask'}), is_train=True)


@pytest.mark.parametrize('losses', [{}, {'none': None}, None])
def test_a_list_without_a_loss_is_none(losses):
    opt = with_losses(losses)
    del opt['train']['pixel_opt']
    with pytest.raises(UserError, match='none of pixel_opt, perceptual_opt, losses is given'):
        check.check_options(opt, is_train=True)


# ---------------------------------------------------------------------- the averaged network, mixed pairs
def test_a_loss_of_the_averaged_network_needs_averaged_weights():
    opt = psnr() | {'model_type': 'ExtSRModel'}
    opt['train']['losses'] = {'ldl': {'type': 'LDLLoss', 'loss_weight': 0.1}}
    check.check_options(opt, is_train=True)
    opt['train']['ema_decay'] = 0
    said = 'train:losses:ldl needs averaged weights. Set train:ema_decay, such as 0.999.'
    assert find_problems(opt, is_train=True) == [said]


@pytest.mark.parametrize(
    ('section', 'said'),
    [
        ({'mixup': 2}, "train:augment:mixup must be a number from 0 to 1, but is '2'."),
        ({'mixup': 'often'}, "train:augment:mixup must be a number from 0 to 1, but is the text 'often'."),
        ({'cutmixx': 0.1}, "train:augment:cutmixx: unknown key; ExtSRModel would ignore it. Did you mean 'cutmix'?"),
        (
            {'mixup': 0.6, 'cutblur': 0.6},
            'train:augment: the probabilities of mixup, cutmix, resizemix, cutblur add up',
        ),
        ('all', "train:augment must be a section or ~, but is the text 'all'."),
    ],
)
def test_batch_augmentations(section, said):
    opt = psnr() | {'model_type': 'ExtSRModel'}
    opt['train']['augment'] = {'mixup': 0.2, 'cutmix': 0.2, 'resizemix': 0.2, 'cutblur': 0.2}
    assert find_problems(opt, is_train=True) == []
    opt['train']['augment'] = section
    problems = find_problems(opt, is_train=True)
    assert any(problem.startswith(said) for problem in problems), problems
