"""An option is never ignored in silence: what has no effect in a run is refused, or worth a warning."""

from pathlib import Path

import pytest
from check_recipes import complete, find_problems, psnr, put, swinir_on_lmdb
from test_check_losses import GAN
from test_check_ordinary import evaluation

from ext_core.errors import UserError
from ext_core.options import loading
from ext_core.options.check import check_options, find_warnings
from ext_core.options.metrics import leave_out_metrics

pytestmark = pytest.mark.usefixtures('data')
LINEAR = {'type': 'MultiStepLR', 'milestones': [5]}


def ours(model_type: str = 'ExtSRModel', **train) -> dict:
    opt = psnr() | {'model_type': model_type}
    opt['train'] |= {'scheduler': LINEAR, **train}
    return opt


def gan(**train) -> dict:
    opt = ours('GANSRModel') | GAN
    opt['train'] |= {'optim_d': opt['train']['optim_g'], 'gan_opt': {'type': 'AdversarialLoss'}, **train}
    return opt


# ---------------------------------------------------------------------- the command line, resuming
def test_every_force_yml_counts():
    args = loading.parse_arguments(['-opt', 'x', '--force_yml', 'a=1', 'b=2', '--force_yml', 'c=3'], is_train=True)
    assert args.force_yml == ['a=1', 'b=2', 'c=3']


def test_a_network_as_text_is_that_network_alone():
    """BasicSR looks for 'network_d' in the text 'network_degrade'."""
    opt = ours() | {'name': 'x', 'path': {'ignore_resume_networks': 'network_degrade'}}
    loading.complete_paths(opt, Path())
    assert opt['path']['ignore_resume_networks'] == ['network_degrade']


def test_a_network_that_is_not_there_cannot_be_left_out():
    opt = put('path:ignore_resume_networks', ['network_q'], gan)
    (problem,) = find_problems(opt, is_train=True)
    assert problem.startswith("path:ignore_resume_networks: there is no section 'network_q'. Did you mean")
    assert find_problems(put('path:ignore_resume_networks', ['network_d'], gan), is_train=True) == []


# ---------------------------------------------------------------------- training
REFUSED = {
    'a view without a GAN': (
        ours('DomainAdaptationSRModel', highpass_opt={'type': 'HighPass'}),
        'train:highpass_opt has no effect without gan_opt.',
    ),
    'phases without a GAN': (
        ours('DomainAdaptationSRModel', net_d_init_iters=5),
        'train:net_d_init_iters has no effect without gan_opt.',
    ),
    'a hinge that cancels': (
        gan(gan_opt={'type': 'RelativisticAdversarialLoss', 'gan_type': 'hinge'}),
        "train:gan_opt: RelativisticAdversarialLoss: gan_type 'hinge' has no relativistic form",
    ),
    'mixtures of probability 0': (ours(augment={'mixup_alpha': 2.0}), 'train:augment: none of mixup, cutmix'),
    'a mode of compile': (ours(compile={'mode': 'fast'}), 'train:compile: torch.compile refuses it:'),
    'compiling what is not there': (
        ours(compile={'networks': ['g', 'd']}),
        "train:compile:networks: there is no network_d to compile. Remove 'd'.",
    ),
    'a loss of one image': (
        ours(losses={'tv': {'type': 'WeightedTVLoss'}}),
        'train:losses:tv: WeightedTVLoss compares nothing. Use it as train:tv_opt.',
    ),
    'a template without a name': (
        put('datasets:train:filename_tmpl', 'x'),
        "datasets:train:filename_tmpl must be text with one {}, such as '{}x4'",
    ),
    'a colour that nobody knows': (
        put('datasets:train:color', 'gray'),
        "datasets:train:color must be 'y' or 'rgb' or ~",
    ),
    'a trunk of LPIPS': (
        put('val:metrics:lpips', {'type': 'calculate_lpips', 'net': 'resnet'}),
        "val:metrics:lpips:net must be 'alex' or 'vgg'",
    ),
    'a region': (
        put('val:metrics:e', {'type': 'calculate_region_error', 'region': 'sky'}),
        "val:metrics:e:region must be 'flat' or 'textured'",
    ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_has_no_effect_or_none_that_is_meant_is_refused(name):
    make, message = REFUSED[name]
    assert any(problem.startswith(message) for problem in find_problems(make, is_train=True)), find_problems(make, True)


def test_perceptual_loss_in_the_place_of_another():
    loss = {'type': 'PerceptualLoss', 'layer_weights': {'conv1_1': 1}}
    with pytest.raises(UserError, match=r'train:pixel_opt: PerceptualLoss gives two losses\. Use it as perceptual_opt'):
        check_options(ours(pixel_opt=loss), is_train=True)


WARNED = {
    'a generator that never has its turn': (
        gan(net_d_iters=30),
        'train:net_d_iters: the generator would meet the discriminator first in iteration 30 of 20, so never.',
    ),
    'two phases that fill the training': (
        gan(pretrain_iters=12, pretrain_opt={'type': 'L1Loss'}, autoencoder_iters=8) | {'model_type': 'EnergyGANModel'},
        'train:autoencoder_iters: the generator would meet the discriminator first in iteration 21 of 20, so never.',
    ),
    "a polynomial's end": (
        ours(scheduler={'type': 'PolynomialLR'}),
        'train:scheduler:total_iters is 5 and train:total_iter 20: the learning rate is 0 from there on.',
    ),
    'restarts beyond the end': (
        ours(scheduler={**LINEAR, 'restarts': [100], 'restart_weights': [1]}),
        'train:scheduler:restarts: [100] lie beyond train:total_iter (20) and are never reached.',
    ),
    'rates of its own': (
        ours(scheduler={'type': 'OneCycleLR', 'max_lr': 0.1, 'total_steps': 20}),
        'train:scheduler:type: OneCycleLR has learning rates of its own',
    ),
}


@pytest.mark.parametrize('name', WARNED)
def test_what_may_be_meant_is_worth_a_warning(name):
    make, message = WARNED[name]
    assert any(warning.startswith(message) for warning in find_warnings(make)), find_warnings(make)


def test_a_generator_that_has_its_turn_is_worth_none():
    assert not any('never' in warning for warning in find_warnings(gan(net_d_iters=5, net_d_init_iters=10)))


def test_lists_of_images_beside_lmdbs():
    opt = swinir_on_lmdb()
    opt['datasets']['train']['meta_info_file'] = 'list.txt'
    message = 'datasets:train:meta_info_file has no effect with LMDBs, of which all images are used.'
    assert message in find_warnings(opt)


# ---------------------------------------------------------------------- metrics and tests
def test_metrics_say_themselves_what_is_better():
    opt = ours()
    opt['val']['metrics'] = {
        'niqe': {'type': 'calculate_niqe', 'crop_border': 4},
        'lpips': {'type': 'calculate_lpips', 'crop_border': 4, 'better': 'higher'},
        'pi': {'type': 'calculate_pi', 'crop_border': 4},
        'psnr': {'type': 'calculate_psnr', 'crop_border': 4},
    }
    leave_out_metrics(opt)
    assert {name: metric.get('better') for name, metric in opt['val']['metrics'].items()} == {
        'niqe': 'lower',
        'lpips': 'higher',  # what the file says goes first
        'pi': 'lower',
        'psnr': None,
    }


def test_a_test_is_warned_of_what_training_reads():
    opt = complete(evaluation(), False)
    assert find_warnings(opt) == []
    opt['path']['resume_state'], opt['val']['save_best'] = '2.state', 'psnr'
    opt['datasets']['test_1']['gt_size'] = 32
    warned = '\n'.join(find_warnings(opt))
    for path in ('path:resume_state', 'val:save_best', 'datasets:test_1:gt_size'):
        assert f'{path} is read in training only; here it has no effect.' in warned


def test_a_test_measures_no_random_layer():
    opt = evaluation()
    opt['path']['strict_load_g_except'] = ['body']
    problems = find_problems(opt, is_train=False)
    assert any('would test a network with random weights in these layers' in problem for problem in problems)
