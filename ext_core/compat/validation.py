"""Patches around ``BaseModel.validation``. Each wraps what it finds, so that they compose."""

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from basicsr.models.video_base_model import VideoBaseModel
from basicsr.models.video_recurrent_model import VideoRecurrentModel

from ext_core.compat.patch import Patch, contains, lacks
from ext_core.saving.checkpoint import rng_state, set_rng_state
from ext_models.shared_validation import conclude, image_record, shared

Validation = Callable[..., None]


def _wrap_validation(wrapper: Callable[[Validation], Validation]) -> None:
    BaseModel.validation = functools.wraps(BaseModel.validation)(wrapper(BaseModel.validation))


def _with_bare_network(validation: Validation) -> Validation:
    def validate(self: Any, *args: Any, **kwargs: Any) -> None:
        wrapped = getattr(self, 'net_g', None)
        if wrapped is None:
            return validation(self, *args, **kwargs)
        # A forward of DistributedDataParallel broadcasts buffers, which nobody joins where rank 0 validates alone, and
        # not every rank where they have different numbers of images.
        self.net_g = self.get_bare_model(wrapped)
        try:
            validation(self, *args, **kwargs)
        finally:
            self.net_g = wrapped

    return validate


def _without_stale_target(validation: Validation) -> Validation:
    def validate(self: Any, *args: Any, **kwargs: Any) -> None:
        vars(self).pop('gt', None)
        validation(self, *args, **kwargs)

    return validate


def _keeping_rng(validation: Validation) -> Validation:
    def validate(self: Any, *args: Any, **kwargs: Any) -> None:
        state = rng_state()  # a DataLoader draws a seed whenever it is iterated
        try:
            validation(self, *args, **kwargs)
        finally:
            set_rng_state(state)

    return validate


def _cure_idle_ranks() -> None:
    alone, whole_set = SRModel.dist_validation, SRModel.nondist_validation

    @functools.wraps(alone)
    def dist_validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        if type(self).nondist_validation is not whole_set:  # what it does beside, nobody here knows
            return alone(self, dataloader, current_iter, tb_logger, save_img)
        name = dataloader.dataset.opt['name']
        records = shared(self, dataloader, lambda data: image_record(self, data, name, current_iter, save_img))
        if records is not None:
            conclude(self, records, name, current_iter, tb_logger)

    SRModel.dist_validation = dist_validation


def _cure_video_validation() -> None:
    for model in (VideoBaseModel, VideoRecurrentModel):
        if 'dist_validation' in vars(model):
            model.dist_validation = _with_results_on_device(model.dist_validation)


def _with_results_on_device(validation: Validation) -> Validation:
    @functools.wraps(validation)
    def validate(self: Any, dataloader: Any, *args: Any, **kwargs: Any) -> None:
        metrics = self.opt['val'].get('metrics')
        if metrics is not None and not hasattr(self, 'metric_results'):  # else BasicSR creates them on 'cuda'
            frames = Counter(dataloader.dataset.data_info['folder'])
            self.metric_results = {
                folder: torch.zeros(count, len(metrics), device=self.device) for folder, count in frames.items()
            }
        validation(self, dataloader, *args, **kwargs)

    return validate


PATCHES = [
    Patch(
        'validation_network',
        'distributed validation of a network with buffers (SwinIR, any BatchNorm): rank 0 alone runs a '
        "DistributedDataParallel forward, the collectives get out of step, 'Connection closed by peer'",
        lambda: lacks(BaseModel.validation, 'get_bare_model'),
        lambda: _wrap_validation(_with_bare_network),
    ),
    Patch(
        'validation_target',
        "a validation set without GT is scored against the last training batch: 'Image shapes are different'",
        lambda: lacks(BaseModel.validation, 'self.gt'),
        lambda: _wrap_validation(_without_stale_target),
    ),
    Patch(
        'validation_rng',
        'a validation moves the random state, so that training depends on how often it validates',
        lambda: lacks(BaseModel.validation, 'rng_state'),
        lambda: _wrap_validation(_keeping_rng),
    ),
    Patch(
        'shared_validation',
        'validation in several processes: rank 0 works through all images alone while the others, and their GPUs, wait',
        lambda: contains(SRModel.dist_validation, "if self.opt['rank'] == 0:"),
        _cure_idle_ranks,
    ),
    Patch(
        'video_validation',
        "validation of video models without CUDA: the results are created on the device 'cuda'",
        lambda: contains(VideoBaseModel.dist_validation, "device='cuda'"),
        _cure_video_validation,
    ),
]
