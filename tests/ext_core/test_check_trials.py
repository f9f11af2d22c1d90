"""What passes every signature and still could not train is tried, or its kind is checked, before anything is made."""

from pathlib import Path

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
from check_recipes import find_problems, psnr, put, write_images

from ext_core.errors import UserError
from ext_core.options.check import check_options, find_warnings
from ext_core.options.keys import schedules


def ours() -> dict:
    opt = psnr()
    opt['model_type'] = 'ExtSRModel'
    return opt


DEGRADE = {'type': 'RealESRGANDegradation', 'blur_kernel_size': 7, 'blur_kernel_size2': 7, 'resize_range': [0.5, 1.5]}
WRONG_DEGRADE = [
    ({**DEGRADE, 'jpeg_rang': [30, 95]}, 'degrade:jpeg_rang: RealESRGANDegradation has no such argument. Did you mean'),
    ({'type': 'RealESRGAN'}, "degrade:type: there is no degradation 'RealESRGAN'. Did you mean"),
    ({**DEGRADE, 'queue_size': 'x'}, 'degrade:queue_size must be a whole number'),
    ({**DEGRADE, 'gt_size': 30}, 'degrade: RealESRGANDegradation: gt_size: 30 is no multiple of scale (4)'),
    ({'type': 'DegradationNet', 'weights': 'gone.pth'}, 'degrade: DegradationNet: Checkpoint gone.pth does not exist'),
    ({**DEGRADE, 'second_blur_prob': 2}, 'degrade: RealESRGANDegradation: second_blur_prob must be a number'),
    ({'type': 'Mixture', 'of': [{'type': 'Bicubic', 'x': 1}]}, 'degrade:of:0:x: Bicubic has no such argument'),
]


@pytest.mark.parametrize(('degrade', 'message'), WRONG_DEGRADE, ids=lambda value: str(value)[:40])
def test_a_wrong_degradation_is_reported(data, degrade, message):
    assert message in '\n'.join(find_problems(put('degrade', degrade, ours), is_train=True))


@pytest.mark.parametrize(
    ('dataset', 'degrade', 'message'),
    [
        ('PairedImageDataset', {'type': 'Mixture', 'of': [{'type': 'Pairs'}, {'type': 'Bicubic'}]}, None),
        ('HRImageDataset', DEGRADE, None),
        ('HRImageDataset', {'type': 'Pairs'}, 'degrade: Pairs: Pairs needs low-quality images'),
        (
            'HRImageDataset',
            None,
            'HRImageDataset has no low-quality images (lq). Use PairedImageDataset, or',
        ),
        (
            'HRImageDataset',
            {'type': 'RealESRGANDegradation'},
            'images of 32 px may shrink to 4 px, too small',
        ),
    ],
)
def test_a_sample_is_degraded_by_the_check(data, dataset, degrade, message):
    opt = put('degrade', degrade, ours)
    opt['datasets']['train']['type'] = dataset
    if dataset == 'HRImageDataset':
        del opt['datasets']['train']['dataroot_lq'], opt['datasets']['train']['filename_tmpl']
    if message is None:
        check_options(opt, is_train=True)
        return
    with pytest.raises(UserError) as refused:
        check_options(opt, is_train=True)
    assert message in str(refused.value)


def test_weights_that_a_fresh_run_would_move_away(data):
    weights = Path('experiments', ours()['name'], 'models', 'net_g_latest.pth')
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b'')
    problems = '\n'.join(find_problems(put('path:pretrain_network_g', str(weights), ours), is_train=True))
    assert 'in the folder of this experiment, which a new run moves to an archive' in problems


def test_a_check_that_stumbles_says_so(data, monkeypatch):
    def stumble(opt, is_train):
        raise ZeroDivisionError('by zero')

    monkeypatch.setattr('ext_core.options.network_sections.problems', stumble)
    (problem,) = find_problems(ours(), is_train=True)
    assert 'the check of the networks met a value that cannot be right: ZeroDivisionError' in problem


# ---------------------------------------------------------------------- schedules
ENDING = {
    'OneCycleLR': lambda total: {'type': 'OneCycleLR', 'max_lr': 0.1, 'total_steps': total},
    'its epochs': lambda total: {'type': 'OneCycleLR', 'max_lr': 0.1, 'epochs': 1, 'steps_per_epoch': total},
    'CosineAnnealingRestartLR': lambda total: {'type': 'CosineAnnealingRestartLR', 'periods': [total]},
}


@pytest.mark.parametrize('total', [2, 10, 17, 20, 30])
@pytest.mark.parametrize('name', ENDING)
def test_a_schedule_that_ends_before_the_training_is_refused_and_no_other(data, name, total):
    """Whether it does is found by walking through it as the training would: one step before each iteration but one."""
    options = ENDING[name](total)
    arguments = {key: value for key, value in options.items() if key != 'type'}
    kind = schedules(MODEL_REGISTRY.get('ExtSRModel'))
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    built = kind[options['type']](optimizer, **arguments)
    optimizer.step()
    ends = False
    try:
        for _ in range(19):
            built.step()
    except (ValueError, TypeError):
        ends = True
    found = find_problems(put('train:scheduler', options, ours), is_train=True)
    assert ends == (total < 18)
    assert bool(found) == ends
    assert all(line.startswith(f'train:scheduler: {"" if "Cosine" in name else "OneCycleLR: "}') for line in found)


def test_a_rate_of_zero_before_the_end_is_worth_a_warning(data):
    opt = put('train:scheduler', {'type': 'LinearDecayLR', 'start': 2, 'total_iter': 5}, ours)
    assert find_problems(opt, is_train=True) == []
    warned = '\n'.join(find_warnings(opt))
    assert 'train:scheduler:total_iter is 5 and train:total_iter 20: the learning rate is 0 from there on' in warned


# ---------------------------------------------------------------------- networks
@pytest.mark.parametrize(('tensors', 'refused'), [(2600, False), (5001, True)])
def test_a_network_that_computes_while_it_is_built_is_counted_once(data, monkeypatch, tensors, refused):
    """On 'meta' it fails, late, and is built anew: 2,600 tensors are no 5,200."""

    class Computing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = torch.nn.ParameterList(torch.zeros(1) for _ in range(tensors))
            self.offset = float(self.weights[-1])  # not without numbers

        def forward(self, x):
            return torch.nn.functional.interpolate(x, scale_factor=4) + self.offset

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Computing', Computing)
    found = find_problems(put('network_g', {'type': 'Computing'}, ours), is_train=True)
    assert ('more than 5,000 tensors' in '\n'.join(found)) == refused
    assert bool(found) == refused


# ---------------------------------------------------------------------- components name their own key
@pytest.mark.parametrize(
    ('model_type', 'key', 'options'),
    [
        ('DomainAdaptationSRModel', 'gan_opt', {'type': 'FrequencyGANLoss', 'filter': 'x'}),
        ('DegradationModel', 'mmd_opt', {'type': 'MMDLoss', 'highpass': {'filter': 'x'}}),
        ('GANSRModel', 'highpass_opt', {'type': 'HighPassView', 'filter': 'x'}),
    ],
)
def test_the_filter_of_a_loss_is_named_by_the_losss_own_key(data, model_type, key, options):
    opt = put(f'train:{key}', options, ours)
    opt['model_type'] = model_type
    found = [line for line in find_problems(opt, is_train=True) if "'x'" in line]
    assert len(found) == 1
    assert found[0].startswith(f'train:{key}')
    assert ('highpass_opt' in found[0]) == (key == 'highpass_opt')


# ---------------------------------------------------------------------- validation images of all sizes
@ARCH_REGISTRY.register()
class UpTo96(torch.nn.Module):
    """Takes small images only."""

    def __init__(self, upscale: int = 4):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 48, 3, padding=1), torch.nn.PixelShuffle(4))

    def forward(self, x):
        if max(x.shape[-2:]) > 96:
            raise ValueError(f'{max(x.shape[-2:])} px are too many')
        return self.net(x)


SWINIR = {
    'type': 'SwinIR', 'upscale': 4, 'img_size': 16, 'window_size': 8, 'depths': [1], 'embed_dim': 12, 'num_heads': [2],
    'mlp_ratio': 2, 'upsampler': 'pixelshuffle', 'resi_connection': '1conv',
}  # fmt: skip


@pytest.mark.parametrize(
    ('network', 'side', 'refused'),
    [(SWINIR, 45, None), (SWINIR, 131, None), ({'type': 'UpTo96'}, 96, None), ({'type': 'UpTo96'}, 131, '131 px')],
)
def test_validation_images_are_tried_as_they_are(data, network, side, refused):
    """A size that is no multiple of a window is none of the check's business; the largest image is tried as it is."""
    opt = ours() | {'network_g': network}
    del opt['datasets']['val_2']
    opt['datasets']['val'] |= {'dataroot_gt': 'gt_val', 'dataroot_lq': 'lq_val'}
    for folder, scale in (('gt_val', 4), ('lq_val', 1)):
        write_images(Path(folder), 16 * scale)
        write_images(Path(folder), side * scale, ['z'])
    if refused is None:
        check_options(opt, is_train=True)
    else:
        with pytest.raises(
            UserError, match=rf'UpTo96 cannot take the largest image of datasets:val, 131 x 131: .*{refused}'
        ):
            check_options(opt, is_train=True)
