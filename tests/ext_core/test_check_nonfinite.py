"""``train:nonfinite`` is checked before training."""

import check_recipes
import pytest
from check_recipes import find_problems, put

data = check_recipes.data


def of_ours(section) -> list[str]:
    opt = put('train:nonfinite', section)
    opt['model_type'] = 'ExtSRModel'
    return find_problems(opt, is_train=True)


@pytest.mark.parametrize('section', [None, {}, {'action': 'rollback'}, {'action': 'skip', 'max': 1, 'every': 1}])
def test_accepted(data, section):
    assert of_ours(section) == []


@pytest.mark.parametrize(
    ('section', 'said'),
    [
        ('skip', "train:nonfinite must be a section or ~, but is the text 'skip'."),
        ({'acton': 'skip'}, "train:nonfinite:acton: unknown key; ExtSRModel would ignore it. Did you mean 'action'?"),
        ({'action': 'ignore'}, 'train:nonfinite:action must be'),
        ({'max': 'many'}, 'train:nonfinite:max must be a whole number'),
        ({'max': 0}, "train:nonfinite:max must be a whole number of at least 1, but is '0'."),
        ({'every': 2.5}, 'train:nonfinite:every must be a whole number'),
    ],
)
def test_refused(data, section, said):
    (problem,) = of_ours(section)
    assert problem.startswith(said)


def test_models_of_basicsr_have_no_such_key(data):
    (problem,) = find_problems(put('train:nonfinite', {}), is_train=True)
    assert problem.startswith('train:nonfinite: unknown key; SRModel would ignore it.')
