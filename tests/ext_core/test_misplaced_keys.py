"""Every declared key in every section that does not take it is refused, and the section where it belongs is named."""

import copy
import json
import re

import pytest
import torch
import yaml
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY
from check_recipes import PSNR, complete, find_problems, put
from option_edits import changed

from ext_core.errors import UserError
from ext_core.options import check, keys, loading
from ext_core.options.declared import Metric, NonFinite, dataset_keys, model_keys
from ext_core.options.problems import LAUNCHER_DATASETS
from ext_core.options.signatures import NEEDED, fits, parameters_of
from ext_models.batch_augmentation import BatchAugmentation
from ext_models.registries import look_up

pytestmark = pytest.mark.usefixtures('data')
TOP = 'the top level'
OURS = """
model_type: GANSRModel
network_d: {type: UNetDiscriminatorSN, num_in_ch: 3, num_feat: 8}
train:
  ema_decay: 0.999
  optim_g: {type: Adam, lr: 0.0001, betas: [0.9, 0.99]}
  optim_d: {type: Adam, lr: 0.0001, betas: [0.9, 0.99]}
  scheduler: {type: LinearDecayLR, start: 5}
  total_iter: 20
  pixel_opt: {type: L1Loss, loss_weight: 0.01, reduction: mean}
  losses: {x: {type: LowPassL1Loss, loss_weight: 0.1}}
  gan_opt: {type: RelativisticAdversarialLoss, loss_weight: 0.005}
  mask_opt: {type: ErrorMask, k: 0.2}
  augment: {mixup: 0.1}
  nonfinite: {action: skip, max: 3}
"""
FILES = {'ours': OURS, "BasicSR's": 'model_type: SRModel'}


def as_file(name: str) -> dict:
    return yaml.safe_load(PSNR) | yaml.safe_load(FILES[name])


def sections(opt: dict) -> dict[str, set[str]]:
    """The keys that have an effect in each section of an option file, by colon path."""
    model = look_up(MODEL_REGISTRY, opt['model_type'])
    found = {where: set(known) for where, known in model_keys(model).items()}
    for phase in opt['datasets']:
        dataset = look_up(DATASET_REGISTRY, opt['datasets'][phase]['type'])
        found[f'datasets:{phase}'] = {*dataset_keys(dataset, phase == 'train')[0]} - LAUNCHER_DATASETS
    found |= {part.where: {'type', *part.known} for part in keys.components(opt)}
    if model.__name__ == 'GANSRModel':
        found['train:augment'] = {*parameters_of(BatchAugmentation)}
        found['train:nonfinite'] = {*parameters_of(NonFinite)}
        found['train:compile'] = {*parameters_of(torch.compile)} - {'model'}
    return found


def values(opt: dict) -> dict[str, object]:
    """A valid value of each key that any section declares: what the file has, the default, or one of the kind."""
    model = look_up(MODEL_REGISTRY, opt['model_type'])
    forms = [*model_keys(model).values(), *map(parameters_of, (Metric, BatchAugmentation, NonFinite))]
    for data_opt in opt['datasets'].values():
        forms.append(dataset_keys(look_up(DATASET_REGISTRY, data_opt['type']), True)[0])
    forms += [part.known for part in keys.components(opt)]
    forms.append(parameters_of(torch.compile))
    found: dict[str, object] = {'type': 'Adam', 'lr_mult': {'x': 0.1}}
    kinds = (1, 32, 0.5, True, 'x', [1], ['x'], {'type': 'x'}, {'x': {'type': 'x'}})
    for form in forms:
        for key, parameter in form.items():
            if key in found:
                continue
            default = parameter.default
            if default is None or default is NEEDED:
                enum = [choice for choice in parameter.schema.get('enum', ()) if choice is not None]
                default = next(value for value in (*enum, *kinds) if fits(value, parameter.schema))
            found[key] = list(default) if isinstance(default, tuple) else default
    return found


def wrong_places(opt: dict) -> list[tuple[str, str, set[str]]]:
    """Section, key that has no effect there, and the sections where it has."""
    known = sections(opt)
    right = {
        key: {place or TOP for place, taken in known.items() if key in taken} for key in set().union(*known.values())
    }
    return [
        (where, key, right[key])
        for where, own in known.items()
        for key in sorted(right.keys() - own)
        if not (key == 'scale' and where.startswith('datasets:'))  # set there by the launcher
    ]


def named(text: str) -> set[str]:
    """The sections that a message says the key belongs in."""
    match = re.search(r'belongs in (.*?)\.(?: |$)', text)
    return set(match.group(1).split(' or in ')) if match else set()


def spoiled(opt: dict, where: str, wrong: dict) -> dict:
    """Complete options with more keys in a section, which is added if the file does not have it."""
    opt = complete(opt, True)
    place = opt
    for key in where.split(':') if where else ():
        place = place.setdefault(key, {})
    place.update(wrong)
    return opt


@pytest.mark.parametrize('name', FILES)
def test_in_an_option_file(name, capsys):
    """All that is wrong in a section at once: each key gets its own sentence, an error or, where BasicSR's own files
    have such keys (a validation set's crops), a warning."""
    opt, said = as_file(name), {}
    assert check.find_problems(complete(opt, True), True) == []
    valid, wrong = values(opt), wrong_places(opt)
    for where in sections(opt):
        misplaced = {key: valid[key] for place, key, _ in wrong if place == where}
        found = {problem.path: problem.text for problem in check.find_problems(spoiled(opt, where, misplaced), True)}
        if where.startswith('datasets:val'):
            accepted = {key: value for key, value in misplaced.items() if f'{where}:{key}' not in found}
            warned = check.find_warnings(spoiled(opt, where, accepted))
            found |= {path: text for path, _, text in (line.partition(' ') for line in warned)}
        said |= {path: text for path, text in found.items() if path.rpartition(':')[0] == where}
    faults = []
    for where, key, right in wrong:
        text = said.get(f'{where}:{key}' if where else key, 'nothing')
        if not named(text) or not named(text) <= right:
            faults.append(f'{where}:{key} belongs in {right}, but it says {text}')
    assert not faults, '\n'.join(faults)
    with capsys.disabled():
        print(f'\n{len(wrong)} misplaced keys in {name} option file: each refused, its section named')
    assert len(wrong) > 1000


@pytest.mark.parametrize('name', FILES)
def test_on_the_command_line(name, capsys, monkeypatch):
    monkeypatch.setattr(loading, 'register_all', lambda: None)  # all is registered; asking a thousand times takes time
    opt, faults = as_file(name), []
    before, valid, wrong = copy.deepcopy(opt), values(opt), wrong_places(opt)
    for where, key, right in wrong:
        path = f'{where}:{key}' if where else key
        with pytest.raises(UserError) as refused:
            loading.override(opt, [f'{path}={json.dumps(valid[key])}'])
        if not named(str(refused.value)) or not named(str(refused.value)) <= right:
            faults.append(f'{path} belongs in {right}, but it says {refused.value}')
    assert not faults, '\n'.join(faults)
    assert opt == before
    with capsys.disabled():
        print(f'\n{len(wrong)} misplaced keys for {name} on the command line: each refused, its section named')


def test_the_scale_of_a_dataset_is_that_of_the_file(tmp_path):
    opt = as_file("BasicSR's")
    opt['datasets']['train']['scale'] = 4
    (tmp_path / 'x.yml').write_text(yaml.dump(opt))
    args = loading.parse_arguments(['-opt', str(tmp_path / 'x.yml')], is_train=True)
    with pytest.raises(UserError, match=r'datasets:train:scale is .*belongs in the top level'):
        loading.resolve(args, tmp_path, is_train=True)


@pytest.mark.parametrize('key', ['amp', 'accumulate', 'ema_decay', 'compile', 'losses', 'total_iter'])
def test_keys_of_train_at_the_top_level(key):
    opt = as_file('ours')
    (problem,) = check.find_problems(spoiled(opt, '', {key: values(opt)[key]}), True)
    assert problem.path == key
    also = {'total_iter': {'train:scheduler'}, 'amp': {'val'}}  # of LinearDecayLR, of validations
    assert named(problem.text) == {'train'} | also.get(key, set())


@pytest.mark.parametrize(
    ('key', 'right'), [('lr', 'train:optim_g or in train:optim_d'), ('val_freq', 'val'), ('keep_last', 'logger')]
)
def test_keys_of_other_sections_under_train(key, right):
    opt = as_file('ours')
    (problem,) = check.find_problems(spoiled(opt, 'train', {key: values(opt)[key]}), True)
    assert problem.path == f'train:{key}'
    assert f'It belongs in {right}.' in problem.text


@pytest.mark.parametrize('name', FILES)
def test_keys_of_another_model_name_it(name):
    """In their own section: BasicSR's model would ignore what only ours reads, and the reverse."""
    opt = as_file(name)
    own = model_keys(MODEL_REGISTRY.get(opt['model_type']))
    count = 0
    for _, model in MODEL_REGISTRY:
        wrong = {where: model_keys(model)[where].keys() - own[where].keys() for where in ('', 'train', 'val')}
        spoilt = complete(opt, True)
        for where, keys_ in wrong.items():
            (spoilt.setdefault(where, {}) if where else spoilt).update(dict.fromkeys(keys_, 1))
        problems = check.find_problems(spoilt, True)
        for where, keys_ in wrong.items():
            for key in keys_:
                count += 1
                path = f'{where}:{key}' if where else key
                text = ' '.join(problem.text for problem in problems if problem.path == path)
                said = re.search(r'It is a key of (.*?)\.(?: |$)', text)
                assert said or named(text), (path, text)
                for other in said.group(1).removesuffix(', ...').split(', ') if said else ():
                    assert any(key in taken for taken in model_keys(look_up(MODEL_REGISTRY, other)).values()), other
    assert count > 50


def test_a_key_that_the_section_takes_is_not_said_to_belong_elsewhere():
    opt = as_file('ours')
    with pytest.raises(UserError, match=r"no key 'train:amp'\. New keys are added in the option file"):
        loading.override(opt, ['train:amp=bf16'])


INHERITED = ['network_d', 'queue_size', 'train:gan_opt', 'train:optim_d', 'train:net_d_iters', 'train:mask_opt',
             'path:pretrain_network_d', 'path:param_key_d', 'path:strict_load_d', 'path:strict_load_d_except',
             'path:pretrain_network_degrade', 'datasets:train:dataroot_real_lq', 'datasets:train:scales',
             'val:center_frame_only']  # fmt: skip


@pytest.mark.parametrize('model', ['SRModel', 'ExtSRModel'])
def test_what_another_models_file_has_is_taken_out_by_null(model):
    opt = put('model_type', model)
    typos = [path.removesuffix(key) + f'other_{key}' for path in INHERITED for key in [path.split(':')[-1]]]
    for paths, value in ((INHERITED, None), (INHERITED, 3), (typos, None)):
        spoilt = copy.deepcopy(opt)
        for path in paths:
            changed(spoilt, path, value)
        problems = find_problems(spoilt, is_train=True)
        if paths is typos:
            assert all(any(problem.startswith(f'{path}: unknown key') for problem in problems) for path in paths)
        elif value is None:
            assert problems == []
        else:
            assert all(any(problem.startswith(path) for problem in problems) for path in paths), problems
