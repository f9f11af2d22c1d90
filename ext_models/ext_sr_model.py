"""The base of our training procedures: device, precision, optimizers, schedules, EMA and logging, without a
synchronisation in the step."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models import lr_scheduler as basicsr_schedulers
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ext_core.errors import UserError
from ext_core.saving.checkpoint import load_checkpoint
from ext_core.saving.weights import keep_layers, loading_problem, option_suffix, select_weights
from ext_core.training.optimizers import find_optimizer, parameter_groups, where_to_get_more
from ext_models.ema import WeightAverage
from ext_models.gradient_norms import GradientNorms
from ext_models.lr_schedulers import LinearDecayLR
from ext_models.precision import Precision

_SCHEDULERS = {
    'MultiStepLR': basicsr_schedulers.MultiStepRestartLR,
    'MultiStepRestartLR': basicsr_schedulers.MultiStepRestartLR,
    'CosineAnnealingRestartLR': basicsr_schedulers.CosineAnnealingRestartLR,
    'LinearDecayLR': LinearDecayLR,
}


def total(losses: dict[str, Tensor]) -> Tensor:
    """Sum of weighted losses, in their order."""
    first, *others = losses.values()
    return sum(others, start=first)


def _plain_format(net: nn.Module, images: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(image.contiguous() for image in images)


@MODEL_REGISTRY.register()
class ExtSRModel(SRModel):
    """Trains a generator on pixel and perceptual losses. Takes BasicSR's SRModel option files unchanged.

    Further keys of ``train``, all off by default:
        amp (str): 'bf16' or 'fp16': forward passes in mixed precision.
        channels_last (bool): Weights and images in that memory format; networks that flatten their features for a
            linear layer keep the plain one.
        compile (bool | dict): ``torch.compile`` the networks, with these arguments where it is a section.
        accumulate (int): Run the batch in this many equal chunks and step once, to fit a large batch into memory.
        grad_clip (dict): ``{type: norm | value, max: float}`` or ``{type: adjustable, theta: float}``, see
            :class:`ext_models.precision.Precision`.
        optim_g: any optimizer of ``torch.optim`` or, where it is installed, of ``pytorch_optimizer``, with its
            arguments; and ``lr_mult: {layer: factor}`` for layers with a rate of their own.
        scheduler: BasicSR's two, LinearDecayLR, or any of ``torch.optim.lr_scheduler``.
        tv_opt: a loss of the generated image alone, such as BasicSR's WeightedTVLoss.
        log_gradient_norms (int): Every so many iterations, measure the norm of each loss's gradient at the generated
            images, and log it as ``grad_pix``, ``grad_percep``, ...: how the losses share the generator.
        nonfinite (dict): ``{action: stop | skip | rollback, max: 10, every: 10}``: what happens when a loss or gradient
            is NaN or infinite, see :class:`ext_core.check.nonfinite.Policy`. ``stop`` is the default.

    ``path:strict_load_g_except`` lists layers that keep their initial weights when ``pretrain_network_g`` is loaded:
    EDSR at scale 4 takes all but ``upsample`` from EDSR at scale 2. The same holds for other networks' suffixes.

    Batches are dicts with ``lq`` (n, c, h, w) and ``gt`` (n, c, scale h, scale w), range [0, 1].
    """

    EXTRA_TRAIN_KEYS = frozenset(
        {'amp', 'channels_last', 'compile', 'accumulate', 'grad_clip', 'log_gradient_norms', 'nonfinite'}
    )
    NEEDS = frozenset({'train:optim_g', 'train:scheduler'})
    LOSS_PREFIX = 'l_'
    PANELS = {'lq': 'lq', 'sr': 'output', 'gt': 'gt'}  # name in TensorBoard: attribute

    # ------------------------------------------------------------------ construction
    def __init__(self, opt: dict):
        train_opt = opt.get('train') or {}
        device_type = 'cuda' if opt['num_gpu'] != 0 else 'cpu'
        self.channels_last = bool(train_opt.get('channels_last'))
        self.compile = train_opt.get('compile') or None
        self.precision = Precision(train_opt.get('amp'), device_type, train_opt.get('grad_clip'))
        self.loss_dict: dict[str, Tensor] = OrderedDict()
        super().__init__(opt)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move a network to the device in the wanted memory format, compile it, wrap it for distribution."""
        if self.channels_last and any(isinstance(module, nn.Linear) for module in net.modules()):
            # such as VGGStyleDiscriminator: its ``view`` before the linear layer needs the plain format throughout
            net.register_forward_pre_hook(_plain_format)
        elif self.channels_last:
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.compile:
            net.compile(**(self.compile if isinstance(self.compile, dict) else {}))
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        train_opt = self.opt['train']
        self.accumulate = int(train_opt.get('accumulate', 1))
        self.gradient_norms = GradientNorms(train_opt.get('log_gradient_norms') or 0, self.precision)
        self.net_g.train()
        self.init_ema(train_opt.get('ema_decay', 0))
        self.init_networks()
        self.init_losses()
        self.setup_optimizers()
        self.setup_schedulers()

    def init_ema(self, decay: float) -> None:
        """Build ``net_g_ema`` from the pretrained weights, or as a copy of ``net_g``."""
        self.ema_decay = decay
        if decay <= 0:
            return
        get_root_logger().info(f'Use Exponential Moving Average with decay: {decay}')
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device).eval()
        if self.channels_last:
            self.net_g_ema.to(memory_format=torch.channels_last)
        self._average = WeightAverage(self.get_bare_model(self.net_g), self.net_g_ema)
        load_path = self.opt['path'].get('pretrain_network_g')
        if load_path is not None and not self.opt['path'].get('strict_load_g_except'):
            self.load_network(self.net_g_ema, load_path, self.opt['path'].get('strict_load_g', True), 'params_ema')
        else:
            self.model_ema(0)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """BasicSR's, with the network's own weights in the layers that ``path:strict_load_*_except`` names."""
        key = f'strict_load_{option_suffix(self, net)}_except'
        layers = self.opt['path'].get(key)
        if not layers:
            super().load_network(net, load_path, strict, param_key)
            return
        bare = self.get_bare_model(net)
        _, weights = select_weights(load_checkpoint(load_path), param_key, load_path)
        weights = keep_layers(bare, weights, layers, f'path:{key}')
        problem = loading_problem(bare, weights, load_path, option_suffix(self, net), strict)
        if problem:
            raise UserError(problem)
        bare.load_state_dict(weights, strict=strict)
        taken = [name for name, _ in bare.named_children() if name not in layers]
        get_root_logger().info(
            f'Loaded from {load_path}: {", ".join(taken)}. Left at their initial weights ({key}): {", ".join(layers)}.'
        )

    def init_networks(self) -> None:
        """Networks beside the generator; none here."""

    def init_losses(self) -> None:
        """Build the losses that the options name, as BasicSR does."""
        self.build_generator_losses()
        if self.cri_pix is None and self.cri_perceptual is None:
            raise ValueError('train: neither pixel_opt nor perceptual_opt is given, so the generator has no loss.')

    def build_generator_losses(self) -> None:
        """The losses of :meth:`generator_losses`."""
        self.cri_pix = self.build_loss('pixel_opt')
        self.cri_perceptual = self.build_loss('perceptual_opt')
        self.cri_tv = self.build_loss('tv_opt')

    def build_loss(self, key: str) -> Any:
        """The loss of ``train:<key>`` on the device, or None where the option file has none."""
        loss_opt = self.opt['train'].get(key)
        return build_loss(loss_opt).to(self.device) if loss_opt else None

    # ------------------------------------------------------------------ optimizers and schedules
    def setup_optimizers(self) -> None:
        self.optimizer_g = self.add_optimizer('optim_g', self.net_g)

    def add_optimizer(self, key: str, net: nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer of ``train:<key>`` over the trainable parameters of ``net``."""
        frozen = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
        if frozen:
            get_root_logger().info(f'{key}: {len(frozen)} frozen parameter tensors are not optimized.')
        arguments = dict(self.opt['train'][key])
        parameters = parameter_groups(self.get_bare_model(net), arguments['lr'], arguments.pop('lr_mult', None))
        optimizer = self.get_optimizer(arguments.pop('type'), parameters, **arguments)
        self.optimizers.append(optimizer)
        return optimizer

    @staticmethod
    def trainable(net: nn.Module) -> list[nn.Parameter]:
        """The parameters that an optimizer may change."""
        return [parameter for parameter in net.parameters() if parameter.requires_grad]

    def get_optimizer(self, optim_type: str, params, lr: float, **kwargs) -> torch.optim.Optimizer:
        """Any optimizer of ``torch.optim``, or of the package ``pytorch_optimizer``, by its name."""
        optimizer_class = find_optimizer(optim_type)
        if optimizer_class is None:
            raise ValueError(f"train: there is no optimizer '{optim_type}'.{where_to_get_more()}")
        return optimizer_class(params, lr=lr, **kwargs)

    def setup_schedulers(self) -> None:
        """One scheduler an optimizer. LinearDecayLR ends at ``train:total_iter`` unless it says otherwise."""
        arguments = dict(self.opt['train']['scheduler'])
        name = arguments.pop('type')
        scheduler_class = _SCHEDULERS.get(name) or getattr(torch.optim.lr_scheduler, name, None)
        if scheduler_class is None:
            raise ValueError(
                f"train:scheduler:type '{name}' is unknown. Ours and BasicSR's: {sorted(_SCHEDULERS)}; "
                'or any class of torch.optim.lr_scheduler.'
            )
        if scheduler_class is LinearDecayLR:
            arguments.setdefault('total_iter', int(self.opt['train']['total_iter']))
        self.schedulers.extend(scheduler_class(optimizer, **arguments) for optimizer in self.optimizers)

    # ------------------------------------------------------------------ the step
    def feed_data(self, data: dict) -> None:
        self.lq = self._to_device(data['lq'])
        if 'gt' in data:
            self.gt = self._to_device(data['gt'])

    def _to_device(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        return images.to(self.device, non_blocking=True, memory_format=layout)

    def optimize_parameters(self, current_iter: int) -> None:
        self.gradient_norms.start(current_iter)
        self.supervised_step(self.generator_losses)

    def supervised_step(self, losses_of: Callable[[Tensor, Any], dict[str, Tensor]]) -> None:
        """One update of the generator alone, on ``losses_of(sr, gt)``."""
        self.optimizer_g.zero_grad()
        self.loss_dict = OrderedDict()
        outputs = []
        for lq, gt in self.chunks(self.net_g):
            with self.precision.autocast():
                sr = self.net_g(lq)
                losses = losses_of(sr, gt)
            self.measure_gradients(losses, sr)
            self.share(total(losses)).backward()
            self.add_losses(losses)
            outputs.append(sr.detach())
        self.output = torch.cat(outputs)
        self.precision.step(self.optimizer_g, self.trainable(self.net_g))
        self.precision.update()
        self.update_ema()

    def generator_losses(self, sr: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """The generator's losses on an image batch, weighted, by their name in the log."""
        losses = OrderedDict()
        if self.cri_pix:
            losses[f'{self.LOSS_PREFIX}pix'] = self.cri_pix(sr, gt)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(sr, gt)
            if perceptual is not None:
                losses[f'{self.LOSS_PREFIX}percep'] = perceptual
            if style is not None:
                losses[f'{self.LOSS_PREFIX}style'] = style
        if self.cri_tv:
            losses[f'{self.LOSS_PREFIX}tv'] = self.cri_tv(sr)
        return losses

    def chunks(self, *networks: nn.Module) -> Iterator[tuple[Tensor, Any]]:
        """The batch in ``train:accumulate`` equal parts. Gradients are reduced over ranks with the last one only."""
        batch = self.lq.shape[0]
        if batch % self.accumulate:
            raise ValueError(
                f'train:accumulate: a batch of {batch} images cannot be run in {self.accumulate} equal '
                'chunks. Choose a divisor of batch_size_per_gpu.'
            )
        parts = list(zip(self.lq.chunk(self.accumulate), self.target_chunks(), strict=True))
        with ExitStack() as stack:
            for net in networks:
                stack.enter_context(self.without_reduction(net))
            yield from parts[:-1]
        yield parts[-1]

    def target_chunks(self) -> Sequence[Any]:
        """What the chunks' outputs are compared with: ``gt`` of the methods that get a chunk."""
        return self.gt.chunk(self.accumulate)

    @staticmethod
    def without_reduction(net: nn.Module) -> AbstractContextManager:
        """Context in which a distributed network's gradients stay local."""
        return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()

    def share(self, loss: Tensor) -> Tensor:
        """A chunk's loss as its part of the batch's, scaled for mixed precision: what ``backward`` is called on."""
        return self.precision.scale(loss / self.accumulate if self.accumulate > 1 else loss)

    def measure_gradients(self, losses: dict[str, Tensor], sr: Tensor) -> None:
        """Measure the gradients of a chunk's losses at the generated images, where it is time to."""
        if self.gradient_norms.due:
            self.gradient_norms.measure({name: self.share(loss) for name, loss in losses.items()}, sr)

    def update_ema(self) -> None:
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def model_ema(self, decay: float = 0.999) -> None:
        self._average.update(decay)

    def step_state(self) -> dict[str, Any]:
        """What the next step depends on beside networks, optimizers and schedules; saved in the training state."""
        return {'gradient_norms': dict(self.gradient_norms.values)}  # in every log line until the next measurement

    def load_step_state(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`step_state` gave."""
        norms = state.get('gradient_norms', {})
        self.gradient_norms.values = {name: value.to(self.device) for name, value in norms.items()}

    # ------------------------------------------------------------------ logging
    def add_losses(self, losses: dict[str, Tensor]) -> None:
        """Add one chunk's losses to the iteration's. They stay on the device until a log line asks for them."""
        for name, value in losses.items():
            value = value.detach().float() / self.accumulate
            self.loss_dict[name] = self.loss_dict[name] + value if name in self.loss_dict else value

    def log_tensors(self) -> dict[str, Tensor]:
        """Scalars for the log, still on the device; asked for when a line is printed, so they may cost a little."""
        return OrderedDict(self.loss_dict, **self.gradient_norms.values)

    @torch.no_grad()
    def get_current_log(self) -> dict[str, float]:
        """The last iteration's scalars, averaged over ranks: the only place where the device is waited for.

        In distributed training every rank must call it.
        """
        tensors = self.log_tensors()
        if not tensors:
            return OrderedDict()
        values = torch.stack([value.float().mean() for value in tensors.values()])
        if self.opt['dist']:
            torch.distributed.all_reduce(values)
            values /= self.opt['world_size']
        self.log_dict = OrderedDict(zip(tensors, values.tolist(), strict=True))
        return self.log_dict

    def panels(self) -> dict[str, Tensor]:
        """Images of the last training batch for TensorBoard, (n, c, h, w) in [0, 1]."""
        if not all(hasattr(self, attribute) for attribute in self.PANELS.values()):
            return {}
        return {name: getattr(self, attribute) for name, attribute in self.PANELS.items()}

    def validation(self, dataloader, current_iter: int, tb_logger, save_img: bool = False) -> None:
        """BasicSR's validation; before it, panels of the last training batch (first four images) go to TensorBoard."""
        if tb_logger and self.is_train and self._panels_written_at != current_iter:
            for name, images in self.panels().items():
                tb_logger.add_images(f'train/{name}', images[:4].detach().float().cpu().clamp(0, 1), current_iter)
            self._panels_written_at = current_iter
        super().validation(dataloader, current_iter, tb_logger, save_img)

    _panels_written_at: int | None = None
