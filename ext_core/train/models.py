"""Build, ask and call BasicSR's models, with errors that a user can mend.

What the trainer wants of a model is BasicSR's contract (``feed_data``, ``optimize_parameters``, ``validation``,
``save``, ``resume_training``), and of ours a little more: ``step_state`` and ``load_step_state`` for what the next step
depends on beside networks, optimizers and schedules; ``precision`` for the gradient scaler and for gradients that are
not finite; ``gradient_report`` for what is said of new losses; ``phase_ends`` and ``step_period`` for a dry run. It
reads these and calls them, and sets nothing.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

from basicsr import models
from basicsr.archs.vgg_arch import VGG_PRETRAIN_PATH
from torch import nn

from ext_core.errors import UserError
from ext_models.sides import is_out_of_memory


def build_model(opt: dict) -> Any:
    """BasicSR's ``build_model``.

    Raises:
        UserError: If a network, loss or optimizer refuses its arguments, or finds no weights.
    """
    # Schedules follow the iteration, as BasicSR's do: also that of an optimizer whose phase is still to come, or whose
    # first step fp16's scaler skips. PyTorch supposes a mistake there.
    warnings.filterwarnings('ignore', message='Detected call of `lr_scheduler.step')
    try:
        return models.build_model(opt)
    except (URLError, ValueError, TypeError, NotImplementedError, AssertionError) as error:
        what, remedy = str(error), 'Correct the sections network_*, path or train.'
        for cause in (error, error.__cause__):
            if isinstance(cause, URLError):
                what = what.replace(str(cause), f'weights cannot be downloaded: {cause.reason}.')
                remedy = f'Make them with scripts/get_weights.py; BasicSR looks for {VGG_PRETRAIN_PATH}.'
        raise UserError(f'the model cannot be built from these options: {what} {remedy}') from error


def networks_of(model: Any) -> dict[str, nn.Module]:
    """A model's networks by their name ('net_g', 'net_d', ...), without wrappers, and without moving averages."""
    return {
        name: model.get_bare_model(net)
        for name, net in vars(model).items()
        if name.startswith('net_') and not name.endswith('_ema') and isinstance(net, nn.Module)
    }


def checkpoint_networks(model: Any) -> dict[str, dict[str, nn.Module]]:
    """The networks that a model saves: for each file ('net_g', 'net_d') those in it by their key ('params').

    BasicSR's models say so by what their ``save`` gives to ``save_network``. A shallow copy is asked, whose
    ``save_network`` only takes notes.
    """
    files: dict[str, dict[str, nn.Module]] = {}

    def note(nets: Any, label: str, current_iter: int, param_key: Any = 'params') -> None:
        nets = nets if isinstance(nets, list) else [nets]
        keys = param_key if isinstance(param_key, list) else [param_key]
        files[label] = {key: model.get_bare_model(net) for key, net in zip(keys, nets, strict=True)}

    asked = copy.copy(model)
    asked.save_network, asked.save_training_state = note, lambda epoch, current_iter: None
    asked.save(0, 0)
    return files


def evaluate(model: Any, loader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """A model's validation on one set.

    Raises:
        UserError: If images, network and metrics do not fit together.
    """
    try:
        model.validation(loader, current_iter, tb_logger, save_img)
    except (AssertionError, IndexError, RuntimeError, ValueError, MemoryError) as error:
        if is_out_of_memory(error):
            raise UserError(
                f"the memory does not suffice for the evaluation of '{loader.dataset.opt['name']}'{_images_of(model)}, "
                f'not even in tiles: {error}\nEnd other programs that use it, or evaluate smaller images.'
            ) from error
        raise UserError(
            f"the evaluation on '{loader.dataset.opt['name']}' failed: {type(error).__name__}: {error}\n"
            'Check that its images, the channels and scale of network_g, and val:metrics fit together.'
        ) from error


def _images_of(model: Any) -> str:
    """' on 16 images of 64 x 48 pixels': the network's input."""
    lq = getattr(model, 'lq', None)
    return '' if lq is None else f' on {len(lq)} images of {lq.shape[-1]} x {lq.shape[-2]} pixels'


@contextmanager
def explaining_first_step(model: Any, first: bool, step: str = 'the first training step') -> Iterator[None]:
    """Around a training step: the first shows whether the network fits the images; memory may run out in any.

    Args:
        model (Any): The model.
        first (bool): Whether it is the first; others end in PyTorch's own error, unless it is for want of memory.
        step (str): How the message calls it. Default: 'the first training step'.

    Raises:
        UserError: For whatever PyTorch raises in the first, and for want of memory.
    """
    try:
        yield
    except (RuntimeError, ValueError, LookupError, AssertionError, NameError, TypeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise UserError(
                f'the memory does not suffice for a training step{_images_of(model)}: {error}\n'
                'Lower datasets:train:batch_size_per_gpu or gt_size; or, with one of our models, split the batch by '
                'train:accumulate, or set train:amp.'
            ) from error
        if not first:
            raise
        images = {name: getattr(model, name, None) for name in ('lq', 'gt')}
        images = {name: tuple(image.shape) for name, image in images.items() if image is not None}
        shapes = f' on images of shape {images}' if images else ''
        remedy = 'Check the channels and scale of network_g and network_d, and color and gt_size of datasets:train.'
        if isinstance(error, KeyError):
            remedy = f'If {error} is what samples should have: choose a type of datasets:train that gives it.'
        raise UserError(f'{step} failed{shapes}: {type(error).__name__}: {error}\n{remedy}') from error
