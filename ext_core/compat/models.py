"""Patches for BasicSR's own models and losses: loading weights, training, going on from a saved state."""

import functools
import inspect
import math
import secrets
from collections import OrderedDict
from typing import Any

import torch
from basicsr.losses.basic_loss import PerceptualLoss
from basicsr.models import realesrgan_model, realesrnet_model
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger, img_process_util
from basicsr.utils import logger as basicsr_logger
from torch import nn

from ext_core.compat.patch import cures, rebind
from ext_core.errors import UserError
from ext_models.degrader import packed, unpacked
from ext_models.weights import load_checkpoint, option_suffix, select_weights, weights_problem

_REAL_ESRGAN = (
    (realesrgan_model, realesrgan_model.RealESRGANModel),
    (realesrnet_model, realesrnet_model.RealESRNetModel),
)


# ---------------------------------------------------------------------- weights
@cures('weights for another network, a truncated file or a bare state dict end in a long traceback, and none is named')
def load_network() -> None:
    def load_network(
        self: Any, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """No code is run, and a file for another network is named as such.

        Args:
            net (Module): Network, wrapped or bare.
            load_path (str): File with weights under ``param_key``, under 'params', or at its root (a bare state dict).
            strict (bool): Whether names and shapes must all agree. Default: True.
            param_key (str | None): Key of the weights; None takes the root. Default: 'params'. BasicSR's models ask for
                'params_ema' for ``net_g_ema``, whatever ``path:param_key_g`` says: where it says another key than the
                default, that one is taken.

        Raises:
            UserError: If the file cannot be read, has no such key, or (strict) holds weights for another network.
        """
        named = self.opt.get('path', {}).get('param_key_g', 'params')
        if param_key == 'params_ema' and named != 'params' and net is getattr(self, 'net_g_ema', None):
            param_key = named
        net = self.get_bare_model(net)
        key, weights = select_weights(load_checkpoint(load_path), param_key, load_path)
        if key != param_key:
            get_root_logger().info(f"'{param_key}' does not exist in {load_path}, use {key or 'the bare state dict'}.")
        get_root_logger().info(f'Loading {net.__class__.__name__} model from {load_path}, with param key: [{key}].')
        bare = OrderedDict((name.removeprefix('module.'), value) for name, value in weights.items())
        if hasattr(weights, '_metadata'):  # versions of the modules
            bare._metadata = weights._metadata  # type: ignore[attr-defined]
        problem = weights_problem(net, bare, load_path, option_suffix(self, net), strict=strict)
        if problem:
            raise UserError(problem)
        self._print_different_keys_loading(net, bare, strict)
        net.load_state_dict(bare, strict=strict)

    BaseModel.load_network = load_network


# ---------------------------------------------------------------------- losses and curves
@cures("BasicSR's models train on with a NaN loss to the end, save the weights and report the PSNR of a black image")
def finite_loss() -> None:
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


@cures("PerceptualLoss with criterion l2: 'module torch.nn has no attribute L2loss'")
def perceptual_l2() -> None:
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


@cures("with recent versions of wandb (0.31) a training ends at once: 'wandb.util' has no attribute 'generate_id'")
def wandb_id() -> None:
    stock = basicsr_logger.init_wandb_logger

    @functools.wraps(stock)
    def init_wandb_logger(opt: dict[str, Any]) -> None:
        import wandb  # only now: it may be absent, and takes long

        if not hasattr(wandb.util, 'generate_id'):
            wandb.util.generate_id = lambda: secrets.token_hex(4)
        try:
            stock(opt)
        except Exception as error:  # wandb's own types: UsageError without a login, CommError without a network
            if not type(error).__module__.startswith('wandb'):
                raise
            raise UserError(
                f'logger:wandb: {error} Log in with: wandb login; or set WANDB_MODE=offline, or project: ~.'
            ) from error

    rebind(stock, init_wandb_logger)


# ---------------------------------------------------------------------- Real-ESRGAN
def _filter_needs_contiguous() -> bool:
    image = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    try:
        img_process_util.filter2D(image, torch.zeros(2, 3, 3))
    except RuntimeError:
        return True
    return False


@cures(
    "filter2D on a channels_last tensor: 'view size is not compatible with input tensor's size and stride'",
    _filter_needs_contiguous,
)
def filter2d() -> None:
    stock = img_process_util.filter2D

    def filter2D(img: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return stock(img.contiguous(), kernel)

    rebind(stock, filter2D)


@cures('RealESRGANModel and RealESRNetModel call .cuda(), which fails without CUDA')
def real_esrgan_device() -> None:
    for module, model in _REAL_ESRGAN:
        module.DiffJPEG = _staying(module.DiffJPEG)
        module.USMSharp = _staying(module.USMSharp)
        _on_own_device(model)


def _staying(base: type[nn.Module]) -> type[nn.Module]:
    """A subclass whose ``cuda()`` leaves it where it is; the model moves it to its own device."""
    return type(base.__name__, (base,), {'cuda': lambda self, device=None: self, '__module__': __name__})


def _on_own_device(model: Any) -> None:
    """Also the pair pool, made before BasicSR would make it on 'cuda'."""
    build, exchange = model.__init__, model._dequeue_and_enqueue

    @functools.wraps(build)
    def __init__(self: Any, opt: dict) -> None:
        build(self, opt)
        self.jpeger.to(self.device)
        self.usm_sharpener.to(self.device)

    @functools.wraps(exchange)
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
        exchange(self)

    model.__init__, model._dequeue_and_enqueue = __init__, _dequeue_and_enqueue


@cures('a resumed RealESRGAN or RealESRNet run starts with an empty pool of training pairs')
def resumed_state() -> None:
    names = ('queue_lr', 'queue_gt', 'queue_ptr')  # the pool that batches are drawn from

    def step_state(self: Any) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {name: packed(value) if torch.is_tensor(value) else value for name, value in kept.items()}

    def load_step_state(self: Any, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, unpacked(value, self.device) if torch.is_tensor(value) else value)

    for _, model in _REAL_ESRGAN:
        model.step_state, model.load_step_state = step_state, load_step_state
