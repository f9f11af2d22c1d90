"""What a training needs of its samples, and whether losses can play the parts that the options give them."""

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from basicsr.losses.basic_loss import PerceptualLoss
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY

from ext_core.check.hints import look_up, section
from ext_core.check.trials import build

_PLAIN_STEPS = ('SRModel', 'SRGANModel', 'ESRGANModel', 'SwinIRModel')  # of BasicSR: net_g(lq) is to be gt
_COMPARE = dict.fromkeys(('pixel_opt', 'pretrain_opt', 'mmd_opt'), 'one number') | {'perceptual_opt': 'two losses'}
_VIEWS = ('mask_opt', 'highpass_opt')
_VIEW_METHODS = ('statistics', 'panels')


def takes_pairs(opt: dict) -> bool:
    """Whether the model trains ``network_g`` to make ``gt`` of ``lq``."""
    model = look_up(MODEL_REGISTRY, opt.get('model_type'))
    if model is None or not issubclass(model, SRModel):
        return False
    return not model.__module__.startswith('basicsr.') or model.__name__ in _PLAIN_STEPS


def problems(opt: dict, sample: dict) -> Iterator[str]:
    """Check a training sample and the losses that will see it."""
    if not takes_pairs(opt):
        return
    kind = section(opt, 'datasets', 'train').get('type')
    if 'gt' not in sample:
        yield f'datasets:train:type: {kind} has no ground truth (gt), which training needs. Use PairedImageDataset.'
        return
    if 'lq' not in sample and 'real_lq' not in sample and not opt.get('network_degrade'):
        yield (
            f'datasets:train:type: {kind} has no low-quality images (lq). Use PairedImageDataset, or a model with '
            'network_degrade, which makes them.'
        )
        return
    shape = tuple(sample['gt'].shape)
    if 'real_lq' in sample:  # the generator makes low-quality images
        shape = tuple(sample['real_lq'].shape)
    objective = section(opt, 'train', 'gan_opt').get('type')
    if section(opt, 'train', 'highpass_opt') and hasattr(look_up(LOSS_REGISTRY, objective), 'panels'):
        yield (
            f'train:highpass_opt: {objective} of train:gan_opt filters the images already. Remove highpass_opt, or use '
            'gan_opt: {type: AdversarialLoss}.'
        )
    for key, arguments in section(opt, 'train').items():
        loss = look_up(LOSS_REGISTRY, arguments.get('type')) if isinstance(arguments, dict) else None
        if loss is not None and not issubclass(loss, PerceptualLoss):
            yield from _part(f'train:{key}', key, loss, arguments, shape)


def _part(where: str, key: str, loss: type, arguments: dict, shape: tuple) -> Iterator[str]:
    name = arguments['type']
    if key in _VIEWS and not all(hasattr(loss, method) for method in _VIEW_METHODS):
        fitting = [other for other, value in LOSS_REGISTRY if all(hasattr(value, method) for method in _VIEW_METHODS)]
        yield f'{where}:type: {name} is no view of images. Use one of: {", ".join(sorted(fitting))}.'
    elif key in _COMPARE or key == 'tv_opt':
        images = 1 if key == 'tv_opt' else 2
        try:
            made = _compared(loss, arguments, (2, *shape), images)
        except Exception as error:
            yield f'{where}: {name} cannot compare the images of the training: {type(error).__name__}: {error}'
            return
        fits = isinstance(made, tuple) and len(made) == 2 if key == 'perceptual_opt' else torch.is_tensor(made)
        if not fits or (torch.is_tensor(made) and made.dim()):
            yield f'{where}: {name} does not give {_COMPARE.get(key, "one number")}. Choose another type, or reduction.'


def _compared(loss: type, arguments: dict, shape: tuple, images: int) -> Any:
    make = partial(build, loss, {name: value for name, value in arguments.items() if name != 'type'})
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            with torch.device('meta'):
                return make()(*(torch.rand(shape) for _ in range(images)))
        except Exception:  # some operations need numbers
            with torch.device('cpu'):
                made = loss(**{name: value for name, value in arguments.items() if name != 'type'})
                return made(*(torch.rand(shape) for _ in range(images)))
