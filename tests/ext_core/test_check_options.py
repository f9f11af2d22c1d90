"""The option checker names each wrong option in one clear line, with its remedy."""

import pytest
from check_recipes import esrgan, find_problems, psnr, put

from ext_core.errors import UserError
from ext_core.options.check import check_options

# one wrong option of a file for BasicSR's SRModel; what the one line about it must say
WRONG = [
    ('model_type', 'SRModle', ["no model 'SRModle'", "'SRModel'"]),
    ('model_type', ..., ['model_type is missing']),
    ('name', 17, ['name must be text', '17']),
    ('name', 'a/b', ['name must be text that can name a folder']),
    ('scale', ..., ['scale is missing']),
    ('scale', 0, ['scale must be a whole number of at least 1']),
    ('num_gpu', 'two', ['num_gpu must be a whole number', "'two'"]),
    ('num_gpu', False, ['num_gpu must be a whole number', "'False'"]),
    ('num_gpus', 1, ['num_gpus: unknown key', "'num_gpu'"]),
    ('manual_seed', 2**40, ['manual_seed must be a whole number from 0 to 2147483647']),
    ('find_unused_parameters', 'yes', ['find_unused_parameters must be true or false']),
    ('train:total_iter', 'abc', ['train:total_iter must be a whole number of at least 1', "'abc'"]),
    ('train:total_iter', ..., ['train:total_iter is missing']),
    ('train:total_iter', float('inf'), ['train:total_iter must be a finite number']),
    ('train:total_iter', 10**12, ['train:total_iter must lie within']),
    ('train:ema_deacy', 0.9, ['train:ema_deacy: unknown key', "'ema_decay'"]),
    ('train:ema_decay', 1.5, ['train:ema_decay must be a number in [0, 1)']),
    ('train:ema_decay', None, ['train:ema_decay must be a number in [0, 1), but is ~. Leave the key out']),
    ('train:pixel_opt', ..., ['neither pixel_opt nor perceptual_opt']),
    ('train:pixel_opt:type', 'L2Loss', ["train:pixel_opt:type: there is no loss 'L2Loss'", "'L1Loss'"]),
    ('train:pixel_opt:type', ..., ['train:pixel_opt:type is missing']),
    ('train:pixel_opt:loss_wieght', 1, ['train:pixel_opt:loss_wieght', "'loss_weight'"]),
    ('train:pixel_opt:loss_weight', [1], ["train:pixel_opt:loss_weight must be a number, but is '[1]'"]),
    ('train:pixel_opt:loss_weight', -1, ['train:pixel_opt:loss_weight must be a number from 0 to']),
    ('train:pixel_opt:reduction', 'means', ['train:pixel_opt: L1Loss: Unsupported reduction mode: means']),
    ('train:optim_g:type', 'Adma', ["no optimizer 'Adma'", "'Adam'"]),
    ('train:optim_g:type', 'AdamW', ["no optimizer 'AdamW' for SRModel"]),
    ('train:optim_g:lr', '2e-4?', ['train:optim_g:lr must be a number']),
    ('train:optim_g:lr', ..., ['train:optim_g:lr is missing: Adam needs it']),
    ('train:optim_g:lr', 7, ['train:optim_g:lr must be a number from 0 to 1']),
    ('train:optim_g:beta', [0.9, 0.99], ['train:optim_g:beta', "'betas'"]),
    ('train:optim_g:betas', [0.9, 0.99, 0.999], ['train:optim_g:betas must be a list of 2']),
    ('train:scheduler:type', 'CosineRestart', ["no schedule 'CosineRestart'"]),
    ('train:scheduler', {}, ['train:scheduler:type is missing. Name the schedule there.']),
    ('train:scheduler:period', [3], ['train:scheduler:period:', "'periods'"]),
    ('train:scheduler:periods', [3], ['train:scheduler: CosineAnnealingRestartLR: periods and restart_weights should']),
    ('train:scheduler', {'type': 'MultiStepLR', 'milestones': [9, 5]}, ['milestones must ascend']),
    ('train:scheduler', {'type': 'MultiStepLR', 'milestones': [-5]}, ['milestones must be iterations']),
    ('network_g:type', 'MSRResnet', ["no network 'MSRResnet'", "'MSRResNet'"]),
    ('network_g:num_fet', 8, ['network_g:num_fet: MSRResNet has no such argument', "'num_feat'"]),
    ('network_g:num_feat', [8], ["network_g:num_feat must be a number, but is '[8]'"]),
    ('network_g:num_feat', 0, ['would be empty']),
    ('network_g:num_feat', 10**6, ['network_g: its weights would need more than']),
    ('network_g:num_block', 10**7, ['network_g: it would have more than 5,000 tensors']),
    ('network_g:upscale', 2, ['network_g:upscale is 2, but scale is 4']),
    ('path:pretrain_network_d', 'x.pth', ['there is no network_d']),
    ('path:type', None, ['path:type: unknown key']),  # BasicSR would make a folder of it
    ('path:pretrain_network_g', 'x.pth\0', ['path:pretrain_network_g: file not found']),
    ('path:resume_state', 'gone.state', ['path:resume_state: file not found: gone.state']),
    ('path:resume_state', 'gt', ['path:resume_state: gt is a folder']),
    ('path:strict_load_g', None, ['path:strict_load_g must be true or false, but is ~']),
    ('val', ..., ['val is missing']),
    ('val:val_freq', 0, ['val:val_freq must be a whole number of at least 1']),
    ('val:metrics', ['psnr'], ['val:metrics must be a section']),
    ('val:metrics:psnr:type', 'calculate_pnsr', ["no metric 'calculate_pnsr'", "'calculate_psnr'"]),
    ('val:metrics:psnr:test_y_chanel', True, ['val:metrics:psnr:test_y_chanel', "'test_y_channel'"]),
    ('val:metrics:psnr:crop_border', ..., ['val:metrics:psnr:crop_border is missing']),
    ('val:metrics:psnr:crop_border', '4', ['val:metrics:psnr:crop_border must be a whole number']),
    ('val:metrics:psnr:better', 'more', ["better must be 'higher' or 'lower'"]),
    ('logger:print_freq', 1.5, ['logger:print_freq must be a whole number of at least 1', "'1.5'"]),
    ('logger:save_checkpoint_freq', ..., ['logger:save_checkpoint_freq is missing']),
    ('logger:keep_last', 0, ['logger:keep_last must be a whole number of at least 1']),
    ('logger:wandb', 'x', ['logger:wandb must be a section']),
    ('logger:wandb:project', 'p', ['wandb is not installed']),
    ('datasets:train', ..., ['datasets:train is missing']),
    ('datasets:valid', {}, ['datasets:valid: unknown kind of dataset', "'val'"]),
    ('datasets:train_2', {'name': 'x'}, ['datasets:train_2: unknown kind of dataset']),
    ('datasets:train:type', 'PairedImagesDataset', ["no dataset 'PairedImagesDataset'", "'PairedImageDataset'"]),
    ('datasets:train:name', [1], ["datasets:train:name must be text, but is '[1]'"]),
    ('datasets:train:use_hflip', ..., ['datasets:train:use_hflip is missing']),
    ('datasets:train:prefetch_mode', 'gpu', ["prefetch_mode must be 'cuda' or 'cpu' or ~"]),
    ('datasets:train:dataset_enlarge_ratio', None, ['dataset_enlarge_ratio must be a number above 0, but is ~']),
    ('datasets:train:gt_size', 30, ['gt_size: 30 is not divisible by scale (4)']),
    ('datasets:train:gt_size', 128, ['crops of 128 do not fit', '64 x 64', 'at most 64']),
    ('datasets:train:io_backend:type', 'dsik', ["no backend 'dsik'", "'disk'"]),
    ('datasets:train:io_backend:type', 'lmdb', ['folder of images, not an LMDB', 'io_backend:type: disk']),
    ('datasets:train:dataroot_gt', None, ['datasets:train:dataroot_gt is missing']),
    ('datasets:train:dataroot_gt', 'gtt', ['datasets:train:dataroot_gt: folder not found: gtt', "'gt'"]),
    ('datasets:train:dataroot_gt', 'gt/a.png', ['gt/a.png is a file']),
    ('datasets:train:meta_info_file', 'basicsr/data/meta_info/meta_info_DIV2K800sub_GT.txt', ['PyPI', 'GitHub']),
    ('datasets:val:dataroot_lq', 'gt', ['datasets:val', 'not scale (4) times', 'throughout: set scale: 1']),
]
COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [1], 'restart_weights': [1]}
# the same of a file for ExtSRModel
WRONG_FOR_OURS = [
    ('train:optim_g', {'type': 'LBFGS', 'lr': 1.0}, ['train:optim_g: LBFGS fails with these options']),
    ('train:scheduler', {'type': 'ReduceLROnPlateau'}, ['train:scheduler: ReduceLROnPlateau fails with these options']),
    ('train:scheduler', {'type': 'MultiStepLR', 'milestones': 5}, ['train:scheduler:milestones must be iterations']),
    ('train:scheduler', COSINE, ['end before train:total_iter']),
    ('train:optim_g:lr_mult', 0.1, ['train:optim_g:lr_mult must be a section whose values are each a number']),
    ('train:compile', {'modus': 'x'}, ['train:compile']),
    ('train:nonfinite', 'skip', ["train:nonfinite must be a section or ~, but is the text 'skip'."]),
    (
        'train:nonfinite',
        {'acton': 'skip'},
        ['train:nonfinite:acton: unknown key; ExtSRModel would ignore it', 'action'],
    ),
    ('train:nonfinite', {'action': 'ignore'}, ['train:nonfinite:action must be']),
    ('train:nonfinite', {'max': 0}, ["train:nonfinite:max must be a whole number of at least 1, but is '0'."]),
]


CASES = [('SRModel', *wrong) for wrong in WRONG] + [('ExtSRModel', *wrong) for wrong in WRONG_FOR_OURS]


@pytest.mark.parametrize(
    ('model_type', 'path', 'value', 'said'), CASES, ids=[f'{number}-{case[1]}' for number, case in enumerate(CASES)]
)
def test_each_wrong_option_is_named_with_its_remedy(data, monkeypatch, model_type, path, value, said):
    find_spec = __import__('importlib.util').util.find_spec
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None if name == 'wandb' else find_spec(name))
    problems = find_problems(put(path, value, lambda: psnr() | {'model_type': model_type}), is_train=True)
    matching = [problem for problem in problems if all(words in problem for words in said)]
    assert matching, problems
    # little follows from the one mistake: a root may be named by two checks, a number by what depends on it
    assert len(problems) <= 3, problems


@pytest.mark.parametrize(
    ('path', 'value'),
    [('logger:keep_last', None), ('logger:save_in_background', False)]
    + [('train:nonfinite', section) for section in (None, {'action': 'rollback'}, {'max': 1, 'every': 1})],
)
def test_right_options_are_accepted(data, path, value):
    model_type = 'ExtSRModel' if path == 'train:nonfinite' else 'SRModel'
    assert find_problems(put(path, value, lambda: psnr() | {'model_type': model_type}), is_train=True) == []


@pytest.mark.parametrize(
    ('path', 'said'),
    [
        ('network_d', 'network_d is missing: ESRGANModel needs it'),
        ('train:gan_opt', 'train:gan_opt is missing: ESRGANModel needs it'),
        ('train:gan_opt:gan_type', 'train:gan_opt:gan_type is missing: GANLoss needs it'),
    ],
)
def test_what_a_gan_needs(data, path, said):
    problems = find_problems(put(path, ..., esrgan), is_train=True)
    assert len(problems) == 1
    assert said in problems[0]


def test_needs_are_united_over_the_bases(data):
    opt = esrgan() | {'model_type': 'MaskGANModel'}
    for key in ('optim_d', 'gan_opt'):
        del opt['train'][key]
    text = '\n'.join(find_problems(opt, is_train=True))
    for key in ('train:mask_opt', 'train:optim_d', 'train:gan_opt'):
        assert f'{key} is missing: MaskGANModel needs it' in text


def test_default_scale_of_a_network_counts(data):
    opt = put('scale', 2, esrgan)
    assert any("network_g:scale is not given, and RRDBNet's default is 4" in p for p in find_problems(opt, True))


def test_metric_with_reference_needs_ground_truth(data):
    opt = psnr()
    single = {'name': 'x', 'type': 'SingleImageDataset', 'dataroot_lq': 'lq', 'phase': 'val'}
    opt['datasets']['val'] = single | {'io_backend': {'type': 'disk'}}
    (problem,) = find_problems(opt, is_train=True)
    assert problem.startswith('val:metrics:psnr: calculate_psnr compares with the ground truth')


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        ('train:gan_opt', {'type': 'GANLoss', 'gan_type': 'vanilla'}, 'RelativisticAdversarialLoss'),
        ('train:amp', 'float16', "train:amp must be 'bf16' or 'fp16' or ~"),
        ('train:grad_clip', 1.0, 'train:grad_clip must be a section'),
        ('train:grad_clip', {'type': 'adjustable', 'max': 0.01}, '{type: adjustable, theta: 0.01}, but is'),
        ('train:grad_clip', {'type': 'norm', 'theta': 0.01}, 'train:grad_clip must be like'),
        ('train:grad_clip', {'type': 'value', 'max': -0.1}, 'train:grad_clip must be like'),
        ('train:accumulate', 3, 'a batch of 4 cannot be split into 3 equal parts'),
    ],
)
def test_our_training_keys_have_values(data, path, value, said):
    opt = put('train:gan_opt', {'type': 'AdversarialLoss'}, esrgan) | {'model_type': 'GANSRModel'}
    opt['train'][path.split(':')[1]] = value
    (problem,) = find_problems(opt, is_train=True)
    assert said in problem


def test_tensorboard_must_be_there_if_wanted(data, monkeypatch):
    find_spec = __import__('importlib.util').util.find_spec
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None if name == 'tensorboard' else find_spec(name))
    (problem,) = find_problems(psnr(), is_train=True)
    assert 'pip install tensorboard' in problem


def test_all_problems_come_in_one_error_and_nothing_is_written(data):
    before = sorted(data.rglob('*'))
    opt = put('train:ema_deacy', 0.9)
    opt['network_g']['num_fet'] = 8
    opt['datasets']['train']['dataroot_lq'] = 'gone'
    with pytest.raises(UserError) as caught:
        check_options(opt, is_train=True)
    lines = str(caught.value).splitlines()
    assert '3 problems; nothing was created' in lines[0]
    assert [line.split(':')[0] for line in lines[1:]] == ['  - train', '  - network_g', '  - datasets']
    assert sorted(data.rglob('*')) == before


@pytest.mark.parametrize(('is_train', 'missing'), [(True, 'datasets:train'), (False, 'datasets:test')])
def test_leaving_out_all_datasets_is_refused(data, is_train, missing):
    found = find_problems(psnr() | {'datasets': {}, 'is_train': is_train}, is_train)
    assert f'{missing} is missing. Add it to the option file. A dataset that is ~ is left out.' in found


def test_sections_that_are_no_sections(data):
    opt = psnr() | {'train': 5, 'val': 'x', 'logger': [1], 'network_g': 'MSRResNet'}
    text = '\n'.join(find_problems(opt, is_train=True))
    for key in ('train', 'val', 'logger', 'network_g'):
        assert f'{key} must be a section' in text


def test_pretraining_needs_both_its_keys(data):
    opt = esrgan() | {'model_type': 'GANSRModel'}
    opt['train'] |= {'pretrain_iters': 5, 'gan_opt': {'type': 'AdversarialLoss'}}
    assert 'train: pretrain_iters and pretrain_opt belong together. Give both, or none.' in find_problems(opt, True)
