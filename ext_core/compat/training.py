"""Patches for BasicSR's own models and losses while they train."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from basicsr.losses.basic_loss import PerceptualLoss
from basicsr.models import realesrgan_model, realesrnet_model
from basicsr.models.base_model import BaseModel
from torch import nn

from ext_core.compat.patch import Patch, contains, lacks
from ext_core.errors import UserError

_REAL_ESRGAN = (
    (realesrgan_model, realesrgan_model.RealESRGANModel),
    (realesrnet_model, realesrnet_model.RealESRNetModel),
)


def _cure_finite_loss() -> None:
    stock = BaseModel.reduce_loss_dict

    @functools.wraps(stock)
    def reduce_loss_dict(self: Any, loss_dict: dict[str, torch.Tensor]) -> dict[str, float]:
        log = stock(self, loss_dict)
        faulty = [f'{name} = {value}' for name, value in log.items() if not math.isfinite(value)]
        if faulty:
            raise UserError(
                f'The loss is not finite: {", ".join(faulty)}. Training stops; checkpoints on disk are untouched. '
                'Lower the learning rate (train:optim_g:lr) or the weight of that loss, check the data, then resume '
                'with --auto_resume.'
            )
        return log

    BaseModel.reduce_loss_dict = reduce_loss_dict


def _cure_perceptual_l2() -> None:
    stock = PerceptualLoss.__init__
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def __init__(*args: Any, **kwargs: Any) -> None:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        squared = call.arguments['criterion'] == 'l2'
        if squared:
            call.arguments['criterion'] = 'l1'  # built without error, and replaced below
        stock(*call.args, **call.kwargs)
        if squared:
            loss = call.arguments['self']
            loss.criterion_type, loss.criterion = 'l2', nn.MSELoss()

    PerceptualLoss.__init__ = __init__


def _needs_cuda() -> bool:
    return any(contains(model.__init__, '.cuda()') for _, model in _REAL_ESRGAN)


def _cure_real_esrgan_device() -> None:
    for module, model in _REAL_ESRGAN:
        module.DiffJPEG = _staying(module.DiffJPEG)
        module.USMSharp = _staying(module.USMSharp)
        model.__init__ = _moving_to_device(model.__init__)
        model._dequeue_and_enqueue = _with_queue(model._dequeue_and_enqueue)


def _staying(base: type[nn.Module]) -> type[nn.Module]:
    """A subclass whose ``cuda()`` leaves it where it is; the model moves it to its own device."""
    return type(base.__name__, (base,), {'cuda': lambda self, device=None: self, '__module__': __name__})


def _moving_to_device(stock: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(stock)
    def __init__(self: Any, opt: dict) -> None:
        stock(self, opt)
        self.jpeger.to(self.device)
        self.usm_sharpener.to(self.device)

    return __init__


def _with_queue(stock: Callable[..., None]) -> Callable[..., None]:
    """The pair pool, created on the model's device before BasicSR would create it on 'cuda'."""

    @functools.wraps(stock)
    def _dequeue_and_enqueue(self: Any) -> None:
        if not hasattr(self, 'queue_lr'):
            if self.queue_size % len(self.lq) != 0:
                raise UserError(
                    f'queue_size: {self.queue_size} is not a multiple of the batch size {len(self.lq)}. '
                    'Change queue_size or datasets:train:batch_size_per_gpu.'
                )
            self.queue_lr = torch.zeros(self.queue_size, *self.lq.shape[1:], device=self.device)
            self.queue_gt = torch.zeros(self.queue_size, *self.gt.shape[1:], device=self.device)
            self.queue_ptr = 0
        stock(self)

    return _dequeue_and_enqueue


PATCHES = [
    Patch(
        'finite_loss',
        "BasicSR's models train on with a NaN loss to the end, save the weights and report the PSNR of a black image",
        lambda: lacks(BaseModel.reduce_loss_dict, 'isfinite'),
        _cure_finite_loss,
    ),
    Patch(
        'perceptual_l2',
        "PerceptualLoss with criterion l2: 'module torch.nn has no attribute L2loss'",
        lambda: contains(PerceptualLoss.__init__, 'torch.nn.L2loss()'),
        _cure_perceptual_l2,
    ),
    Patch(
        'real_esrgan_device',
        'RealESRGANModel and RealESRNetModel call .cuda(), which fails without CUDA',
        _needs_cuda,
        _cure_real_esrgan_device,
    ),
]
