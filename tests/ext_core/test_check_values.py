"""Kinds of arguments, numbers that nothing can use, and parts that do not fit when they meet."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from check_recipes import esrgan, find_problems, psnr, put

from ext_core.errors import UserError
from ext_core.options import trying
from ext_core.options.check import check_options
from ext_core.options.signatures import docstring_entries, fits, of_hint, parameters_of


# ---------------------------------------------------------------------- kinds
@pytest.mark.parametrize(
    ('hint', 'fitting', 'other'),
    [
        (int, [1, -3], [1.5, True, '1', None, [1]]),
        (float, [1, 1.5], [True, '1', None]),
        (bool, [True], [1, 0, 'true']),
        (str | None, ['x', None], [1, ['x']]),
        (Sequence[int], [[], [1, 2]], [[1.5], ['a'], 3, {'a': 1}]),
        (tuple[float, float], [[1, 2.5]], [[1], [1, 2, 3], ['a', 1], 1]),
        (Mapping[str, float], [{}, {'conv5_4': 1}], [{'a': 'b'}, [1], 'a']),
        (Literal['norm', 'value'], ['norm'], ['nrom', 1, None]),
        (float | torch.Tensor, [1e-4], ['1e-4', [1]]),
        (Any, [1, 'x', None, [1]], []),
        (torch.device | str, ['cpu'], [3]),
    ],
)
def test_hints_say_what_fits(hint, fitting, other):
    schema = of_hint(hint)
    assert [value for value in fitting if not fits(value, schema)] == []
    assert [value for value in other if fits(value, schema)] == []


def test_without_hints_the_default_and_the_docstring_say_it():
    class Old:
        """Something old.

        Args:
            channels (int): Channels
                of it.
        """

        def __init__(self, channels, width=3, flag=False, mode='a', window_size=8, parts=(1, 2), other=None):
            pass

    found = {name: parameter.schema for name, parameter in parameters_of(Old).items()}
    assert found['channels'] == {'type': 'number'}
    assert docstring_entries(Old)['channels'] == ('int', 'Channels of it.')
    assert parameters_of(Old)['channels'].text == 'Channels of it.'
    assert fits(3.5, found['width'])
    assert not fits([3], found['width'])
    assert fits([8, 8], found['window_size'])
    assert not fits(1, found['flag'])
    assert not fits('a', found['parts'])
    assert found['other'] == {}


def test_defaults_of_all_registered_classes_fit_their_own_description():
    for registry in (ARCH_REGISTRY, LOSS_REGISTRY):
        for name, target in registry:
            for key, parameter in parameters_of(target).items():
                assert parameter.needed or fits(parameter.default, parameter.schema), (name, key)


def test_what_a_loss_is_built_from_counts_only_once(data):
    assert len(find_problems(put('train:pixel_opt:loss_weight', [1]), is_train=True)) == 1


def test_networks_are_built_without_memory_and_once():
    section = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1}
    net = trying.network(ARCH_REGISTRY.get('MSRResNet'), section)
    assert all(weight.is_meta for weight in net.parameters())
    assert trying.network(ARCH_REGISTRY.get('MSRResNet'), dict(section)) is net
    assert trying.network(ARCH_REGISTRY.get('MSRResNet'), section | {'num_feat': 4}) is not net


# ---------------------------------------------------------------------- parts that meet
MEETING = [
    ('network_g:num_in_ch', 1, psnr, 'network_g: MSRResNet cannot take the images of datasets:train (lq, 3 x 8 x 8)'),
    ('network_g', {'type': 'VDSR', 'upscale': 4}, psnr, 'network_g: VDSR'),
    ('network_d:num_in_ch', 1, esrgan, 'network_d: VGGStyleDiscriminator cannot take the images of datasets:train (gt'),
    ('datasets:train:gt_size', 64, esrgan, 'network_d: VGGStyleDiscriminator cannot take the images of datasets:train'),
    ('datasets:train:batch_size_per_gpu', 5, psnr, 'do not fill one batch of 5. Lower batch_size_per_gpu, or set'),
    ('datasets:train:dataset_enlarge_ratio', 10**8, psnr, 'ratio: 4 images times 1e+08 make an epoch of more than'),
    ('datasets:train:mean', [0.5], psnr, 'datasets:train: PairedImageDataset'),
    ('val:metrics:psnr:crop_border', 40, psnr, '40 pixels at each side leave nothing of the images of datasets:val'),
    ('val:metrics:psnr:input_order', 'HCW', psnr, 'val:metrics:psnr: calculate_psnr: Wrong input_order HCW'),
    ('train:pixel_opt:reduction', 'none', psnr, 'train:pixel_opt: L1Loss does not give one number'),
    ('train:pixel_opt', {'type': 'ErrorMask'}, psnr, 'train:pixel_opt: ErrorMask does not give one number'),
]


@pytest.mark.parametrize(('path', 'value', 'make', 'said'), MEETING, ids=[meeting[0] for meeting in MEETING])
def test_parts_that_do_not_fit_are_heard_before_training(data, path, value, make, said):
    opt = put(path, value, make)
    assert find_problems(opt, is_train=True) == []
    state = torch.get_rng_state()
    with pytest.raises(UserError) as caught:
        check_options(opt, is_train=True)
    assert said in str(caught.value)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_are_not_filtered_twice(data):
    opt = esrgan() | {'model_type': 'DomainAdaptationSRModel'}
    opt['train'] |= {'gan_opt': {'type': 'FrequencyGANLoss'}, 'highpass_opt': {'type': 'HighPassView'}}
    with pytest.raises(UserError, match='train:highpass_opt: FrequencyGANLoss of train:gan_opt filters the images'):
        check_options(opt, is_train=True)
    opt['train']['highpass_opt'] = None
    check_options(opt, is_train=True)


def test_a_degradation_network_makes_images_like_the_real_ones(data):
    opt = psnr() | {
        'model_type': 'DegradationModel',
        'network_g': {'type': 'DegradationNet', 'scale': 4, 'num_feat': 8},
    }
    unpaired = {'type': 'UnpairedImageDataset', 'dataroot_real_lq': 'lq'}
    for dataset in opt['datasets'].values():
        dataset |= unpaired
        for key in ('dataroot_lq', 'filename_tmpl'):
            dataset.pop(key, None)
    opt['val']['metrics'] = None
    check_options(opt, is_train=True)
    opt['network_g']['num_out_ch'] = 7
    with pytest.raises(
        UserError, match=r'makes images of shape \(7, 8, 8\) of .*, but the real ones .* are \(3, 8, 8\)'
    ):
        check_options(opt, is_train=True)


def test_images_without_ground_truth_train_nothing(data):
    opt = psnr()
    opt['datasets']['train']['type'] = 'SingleImageDataset'
    opt['val']['metrics'] = None
    with pytest.raises(UserError, match='SingleImageDataset has no ground truth'):
        check_options(opt, is_train=True)
