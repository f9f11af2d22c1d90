"""Patches for validation: of BasicSR's models, in one and in several processes, and its NIQE."""

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from basicsr.models.swinir_model import SwinIRModel
from basicsr.utils import get_root_logger

from ext_core.compat.patch import cures
from ext_data.samples import rng_state, set_rng_state
from ext_models.shared_validation import conclude, image_record, means, shared
from ext_models.sides import in_pieces

# calculate_niqe looks niqe up in its module, so that replacing this one name serves the registry and every import
_module: Any = importlib.import_module('basicsr.metrics.niqe')
_MIN_BLOCKS = 2  # a covariance needs two samples


@cures(
    "distributed validation of a network with buffers (SwinIR, any BatchNorm) ends in 'Connection closed by peer'; "
    "a set without GT is scored against the last training batch: 'Image shapes are different'; a validation moves "
    'the random state, so that training depends on how often it validates; images of one name in '
    "two validation sets overwrite each other's pictures"
)
def validation() -> None:
    stock = BaseModel.validation

    @functools.wraps(stock)
    def validation(self: Any, *args: Any, **kwargs: Any) -> None:
        vars(self).pop('gt', None)  # of the last training batch; a set without GT would be scored against it
        state = rng_state()  # a DataLoader draws a seed whenever it is iterated
        sections = self.opt.get('datasets', {}).items()
        sets = {section['name'] for phase, section in sections if phase.startswith('val') and 'name' in section}
        path = self.opt.get('path', {})
        pictures = path.get('visualization')
        if len(sets) > 1 and self.opt['is_train'] and pictures:
            name = (args[0] if args else kwargs['dataloader']).dataset.opt['name']
            path['visualization'] = os.path.join(pictures, name)
        wrapped = getattr(self, 'net_g', None)
        if wrapped is not None:
            # A forward of DistributedDataParallel broadcasts buffers, which nobody joins where rank 0 validates alone,
            # and not every rank where they have different numbers of images.
            self.net_g = self.get_bare_model(wrapped)
        try:
            stock(self, *args, **kwargs)
        finally:
            if wrapped is not None:
                self.net_g = wrapped
            if pictures:
                path['visualization'] = pictures
            set_rng_state(state)

    BaseModel.validation = validation


@cures('validation in several processes: rank 0 works through all images alone while the others, and their GPUs, wait')
def shared_validation() -> None:
    alone, whole_set = SRModel.dist_validation, SRModel.nondist_validation

    @functools.wraps(alone)
    def dist_validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        if type(self).nondist_validation is not whole_set:  # what it does beside, nobody here knows
            return alone(self, dataloader, current_iter, tb_logger, save_img)
        name = dataloader.dataset.opt['name']
        records = shared(self, dataloader, lambda data: image_record(self, data, name, current_iter, save_img))
        torch.cuda.empty_cache()
        if records is not None and self.opt['val'].get('metrics') is not None:
            conclude(self, means(records), name, current_iter, tb_logger)

    SRModel.dist_validation = dist_validation


@cures(
    'an image whose sides are no multiple of a window, or of the factor of a pixel-unshuffle, ends the training at '
    "its first validation: 'AssertionError' without a word, 'shape ... is invalid for input of size ...'; one that "
    'is too large for the memory, too'
)
def validation_sides() -> None:
    for model in (SRModel, SwinIRModel):
        model.test = _for_any_size(model.test)


def _for_any_size(stock: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(stock)
    def test(self: Any) -> None:
        in_pieces(self, functools.partial(stock, self))

    return test


@cures("NIQE ends the training on images that are small or flat: 'SVD did not converge', 'min(): Expected reduction'")
def niqe() -> None:
    stock = _module.niqe

    @functools.wraps(stock)
    def niqe(
        img: np.ndarray, *params: np.ndarray, block_size_h: int = 96, block_size_w: int = 96, **kwargs: Any
    ) -> float:
        height, width = img.shape
        if (height // block_size_h) * (width // block_size_w) < _MIN_BLOCKS:
            return _undefined(f'{height} x {width} pixels hold less than two blocks of {block_size_h} x {block_size_w}')
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', RuntimeWarning)  # of flat blocks, which the method leaves out
                return stock(img, *params, block_size_h=block_size_h, block_size_w=block_size_w, **kwargs)
        except np.linalg.LinAlgError:
            return _undefined('less than two blocks have texture')

    _module.niqe = niqe
    _module.calculate_niqe.better = 'lower'  # for save_best, which else keeps the worst network


def _undefined(reason: str) -> float:
    get_root_logger().warning(f'calculate_niqe: nan, {reason}.')
    return float('nan')
