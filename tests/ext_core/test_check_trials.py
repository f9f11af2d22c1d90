"""What passes every signature and still could not train is tried, or its kind is checked, before anything is made."""

from pathlib import Path

import check_recipes
import pytest
from check_recipes import find_problems, psnr, put

data = check_recipes.data


def ours() -> dict:
    opt = psnr()
    opt['model_type'] = 'ExtSRModel'
    return opt


# one wrong option; what the first line about it must say
WRONG = [
    ('name', 'a/b', 'name must be text that can name a folder'),
    ('name', '..', 'name must be text that can name a folder'),
    ('scale', 0, 'scale must be a whole number of at least 1'),
    ('find_unused_parameters', 'yes', 'find_unused_parameters must be true or false'),
    ('path:strict_load_g', 'yes', 'path:strict_load_g must be true or false'),
    ('logger:use_tb_logger', 'no', 'logger:use_tb_logger must be true or false'),
    ('logger:wandb', 'x', 'logger:wandb must be a section'),
    ('datasets:train:prefetch_mode', 'gpu', "prefetch_mode must be 'cuda' or 'cpu' or ~"),
    ('datasets:train_2', {'name': 'x'}, 'datasets:train_2: unknown kind of dataset'),
    ('datasets:train', ..., 'datasets:train is missing'),
    ('train:optim_g:betas', [0.9, 0.99, 0.999], 'train:optim_g:betas must be a list of 2'),
    ('train:optim_g', {'type': 'LBFGS', 'lr': 1.0}, 'train:optim_g: LBFGS fails with these options'),
    ('train:scheduler', {'type': 'ReduceLROnPlateau'}, 'train:scheduler: ReduceLROnPlateau fails with these options'),
    (
        'train:scheduler',
        {'type': 'MultiStepLR', 'milestones': 5},
        'train:scheduler: MultiStepLR fails with these options',
    ),
    (
        'train:scheduler',
        {'type': 'CosineAnnealingRestartLR', 'periods': [1], 'restart_weights': [1]},
        'end before train:total_iter',
    ),
    ('train:compile', {'modus': 'x'}, 'train:compile'),
    ('train:mask_opt', {'type': 'ErrorMask', 'window': 4}, 'window must be odd'),
    ('val:metrics', ['psnr'], 'val:metrics must be a section'),
    ('val:metrics:psnr:crop_border', '4', 'val:metrics:psnr:crop_border must be a whole number'),
]


@pytest.mark.parametrize(('path', 'value', 'message'), WRONG, ids=lambda value: str(value)[:40])
def test_is_reported(data, path, value, message):
    make = ours
    if path == 'train:mask_opt':

        def make() -> dict:
            opt = ours()
            opt['model_type'] = 'GANSRModel'
            return opt

    assert message in '\n'.join(find_problems(put(path, value, make), is_train=True))


def test_the_recipe_itself_has_no_problem(data):
    assert find_problems(ours(), is_train=True) == []


def test_weights_that_a_fresh_run_would_move_away(data):
    weights = Path('experiments', ours()['name'], 'models', 'net_g_latest.pth')
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b'')
    problems = '\n'.join(find_problems(put('path:pretrain_network_g', str(weights), ours), is_train=True))
    assert 'in the folder of this experiment, which a new run moves to an archive' in problems


def test_a_check_that_stumbles_says_so(data, monkeypatch):
    def stumble(opt, is_train):
        raise ZeroDivisionError('by zero')

    monkeypatch.setattr('ext_core.options.networks.problems', stumble)
    (problem,) = find_problems(ours(), is_train=True)
    assert 'the check of the networks met a value that cannot be right: ZeroDivisionError' in problem
