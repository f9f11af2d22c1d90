"""Numbers that no training can use, and those that make part of a training never happen."""

import math
from collections.abc import Iterator
from typing import Any

from ext_core.check.hints import is_number, section

LARGEST = 10**9  # of any number in an option file; iterations, pixels and weights stay far below
HEAVIEST = 10**6  # weight of a loss
_SWITCHED_OFF = -1  # of warmup_iter


def problems(opt: dict, is_train: bool) -> Iterator[str]:
    """Numbers that are not finite or absurdly large, and milestones that do not ascend."""
    for path, value in _numbers(opt):
        if not math.isfinite(value):
            yield f"{path} must be a finite number, but is '{value}'."
        elif abs(value) > LARGEST and path != 'manual_seed':
            yield f"{path} must lie within {LARGEST:,} of 0, but is '{value}'."
        elif path.startswith('train:') and path.endswith('_weight') and not 0 <= value <= HEAVIEST:
            yield f"{path} must be a number from 0 to {HEAVIEST:,}, but is '{value}'."
    if is_train:
        yield from _milestones(section(opt, 'train', 'scheduler').get('milestones'))


def _numbers(value: Any, path: str = '') -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, element in value.items():
            yield from _numbers(element, f'{path}:{key}' if path else str(key))
    elif isinstance(value, list | tuple):
        for element in value:
            yield from _numbers(element, path)
    elif is_number(value):
        yield path, value


def _milestones(milestones: Any) -> Iterator[str]:
    if not isinstance(milestones, list):
        return  # what a schedule says of it, its trial reports
    wrong = [value for value in milestones if not isinstance(value, int) or isinstance(value, bool) or value < 1]
    if wrong:
        yield f"train:scheduler:milestones must be iterations, whole numbers from 1 on, but one is '{wrong[0]}'."
    elif milestones != sorted(set(milestones)):
        yield f'train:scheduler:milestones must ascend, but are {milestones}.'


def warnings(opt: dict) -> Iterator[str]:
    """What of a training would never happen within its iterations. It may be meant, as in a shortened run."""
    train, total = section(opt, 'train'), section(opt, 'train').get('total_iter')
    if not is_number(total):
        return
    milestones = section(train, 'scheduler').get('milestones')
    beyond = [value for value in milestones if value > total] if isinstance(milestones, list) else []
    if beyond:
        yield f'train:scheduler:milestones: {beyond} lie beyond train:total_iter ({total:g}) and are never reached.'
    never = {
        'train:warmup_iter': 'the learning rate never reaches its full value',
        'train:pretrain_iters': 'the phase after it never begins',
        'train:net_d_init_iters': 'the generator is never trained',
    }
    for path, consequence in never.items():
        value = train.get(path.removeprefix('train:'))
        if is_number(value) and value != _SWITCHED_OFF and value >= total:
            yield f'{path} is {value:g} and train:total_iter {total:g}: {consequence}.'
    seldom = {
        'val:val_freq': 'the validation runs once, at the end',
        'logger:save_checkpoint_freq': 'an interrupted run loses everything',
        'logger:print_freq': 'the log stays empty',
    }
    for path, consequence in seldom.items():
        name, key = path.split(':')
        value = section(opt, name).get(key)
        if is_number(value) and value > total:
            yield f'{path} is {value:g} and train:total_iter {total:g}: {consequence}.'
