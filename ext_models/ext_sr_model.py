"""The base of our training procedures: device, precision, optimizers, schedules, EMA and logging, without a
synchronisation in the step."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, fields
from inspect import signature
from typing import Annotated, Any, Literal

import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models import lr_scheduler as basicsr_schedulers
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ext_arch.luma import LumaNetwork
from ext_models.batch_augmentation import BatchAugmentation
from ext_models.degrader import Degrader
from ext_models.ema import WeightAverage
from ext_models.gradient_norms import GradientNorms
from ext_models.lr_schedulers import LinearDecayLR
from ext_models.optimizers import find_optimizer, parameter_groups, where_to_get_more
from ext_models.precision import AMP_TYPES, Precision, in_memory_format
from ext_models.registries import registered
from ext_models.weights import keep_layers, load_checkpoint, option_suffix, select_weights, weights_problem

UNEVEN = 'a batch of {} cannot be split into {} equal parts. Choose a divisor of batch_size_per_gpu.'
ASKED = {'lq', 'sr_ema'}  # what a loss gets beside two images where its ``forward`` has a parameter of that name
RESERVED = ('pix', 'percep', 'style', 'tv', 'gan', 'pretrain', 'mmd')  # names of values in the log


def _further_losses(train: dict) -> dict[str, Any]:
    """The sections of ``train:losses`` but those that are ``~``."""
    losses = train.get('losses')
    return {name: loss for name, loss in losses.items() if loss is not None} if isinstance(losses, dict) else {}


def total(losses: dict[str, Tensor]) -> Tensor:
    """Sum of weighted losses, in their order."""
    first, *others = losses.values()
    return sum(others, start=first)


def _plain_input(net: nn.Module, images: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(image.contiguous() for image in images)


def _plain_output(layer: nn.Module, images: tuple[Tensor, ...], features: Tensor) -> Tensor:
    return features.contiguous()


@MODEL_REGISTRY.register()
class ExtSRModel(SRModel):
    """Trains a generator on any number of weighted losses. Takes BasicSR's SRModel option files unchanged.

    ``train:losses`` names further losses of (sr, gt), each ``{type: ..., loss_weight: ...}``, logged under its name. A
    loss whose ``forward`` has a parameter ``lq`` gets the network's input too; one that has ``sr_ema`` gets what the
    averaged network makes of it.

    ``path:strict_load_g_except`` lists layers that keep their initial weights when ``pretrain_network_g`` is loaded:
    EDSR at scale 4 takes all but ``upsample`` from EDSR at scale 2. The same holds for other networks' suffixes.

    Batches are dicts with ``lq`` (n, c, h, w) and ``gt`` (n, c, scale h, scale w), range [0, 1]. With the section
    ``degrade``, training makes ``lq`` of ``gt`` (:class:`ext_models.degrader.Degrader`), and datasets may leave it
    out; validation uses what it is given.
    """

    @dataclass(kw_only=True)
    class FileOptions:
        """Top-level keys."""

        degrade: Annotated[
            dict | None,
            'How training makes low-quality images of the ground truths, by type; ~ for those of the dataset.',
        ] = None

        gradient_as_bucket_view: Annotated[
            bool | None,
            'Of DistributedDataParallel: gradients stand in the buffers that are exchanged, which saves their size.',
        ] = False
        sync_bn: Annotated[
            bool | None,
            'Batch normalisation over the batches of all GPUs; processes on the CPU keep each its own.',
        ] = False

    @dataclass(kw_only=True)
    class TrainOptions:
        """Keys of ``train`` beside SRModel's, all off by default."""

        optim_g: Annotated[
            dict,
            'Any optimizer of `torch.optim` or, where it is installed, of `pytorch_optimizer`, with its arguments; and '
            '`lr_mult: {layer: factor}` for layers with a rate of their own.',
        ]
        scheduler: Annotated[dict, "BasicSR's two, LinearDecayLR, or any of `torch.optim.lr_scheduler`."]
        losses: Annotated[
            dict[str, dict | None] | None,
            'Further losses by a name of your own: `{charbonnier: {type: CharbonnierLoss, loss_weight: 0.1}}`. Each '
            'compares the generated image with the ground truth and is logged under its name.',
        ] = None
        tv_opt: Annotated[dict | None, "A loss of the generated image alone, such as BasicSR's WeightedTVLoss."] = None
        amp: Annotated[Literal['bf16', 'fp16', None], 'Forward passes in mixed precision.'] = None
        channels_last: Annotated[
            bool | None,
            'Weights and images in that memory format; transformers, which have linear layers before convolutions, '
            'keep the plain one.',
        ] = False
        compile: Annotated[
            bool | dict | None,
            '`torch.compile` the generator, with these arguments where it is a section; `networks: [g, d]` in it '
            'compiles others too.',
        ] = None
        accumulate: Annotated[
            int,
            {'minimum': 1},
            'Run the batch in this many equal chunks and step once, to fit a large batch into memory.',
        ] = 1
        grad_clip: Annotated[
            dict | None,
            '`{type: norm, max: 1.0}`, `{type: value, max: 0.1}` or `{type: adjustable, theta: 0.01}`, see '
            '`ext_models.precision.Precision`.',
        ] = None
        log_gradient_norms: Annotated[
            int | None,
            {'minimum': 0},
            "Iterations between measurements of the norm of each loss's gradient at the generated images, logged as "
            '`grad_pix`, `grad_percep`, ...; 0: never.',
        ] = 0
        augment: Annotated[
            dict | None,
            '`{mixup: 0.2, cutmix: 0.2, resizemix: 0.2, cutblur: 0.2}`: how often the pairs of a batch are mixed, and '
            'which way.',
        ] = None
        nonfinite: Annotated[
            dict | None,
            '`{action: stop, max: 10, every: 10}`: what happens when a loss or gradient is NaN or infinite.',
        ] = None

    @dataclass(kw_only=True)
    class ValOptions:
        """Keys of ``val`` beside BasicSR's."""

        amp: Annotated[Literal['bf16', 'fp16', None], 'Validation in mixed precision.'] = None
        tile: Annotated[
            int | None,
            {'minimum': 32},
            "Side of tiles in pixels of the network's input; ~: images in one piece, in tiles where the memory does "
            'not suffice.',
        ] = None

    SCHEDULERS: dict[str, type] = {  # beside those of torch.optim.lr_scheduler
        'MultiStepLR': basicsr_schedulers.MultiStepRestartLR,
        'MultiStepRestartLR': basicsr_schedulers.MultiStepRestartLR,
        'CosineAnnealingRestartLR': basicsr_schedulers.CosineAnnealingRestartLR,
        'LinearDecayLR': LinearDecayLR,
    }
    GENERATOR_LOSSES: tuple[str, ...] = ('pixel_opt', 'perceptual_opt', 'losses')  # one of them is needed
    LOSS_PREFIX = 'l_'
    DEGRADES = True  # takes the section degrade
    PANELS = {'lq': 'lq', 'sr': 'output', 'gt': 'gt'}  # name in TensorBoard: attribute

    # ------------------------------------------------------------------ construction
    @classmethod
    def option_problems(cls, opt: dict) -> Iterator[tuple[str, str]]:
        """What is wrong with options that fit this model's keys one by one: colon paths and sentences.

        The option check reports them all; a model that is built all the same refuses the first.
        """
        if not opt['is_train']:
            return
        train = opt.get('train') or {}
        losses = _further_losses(train)
        given = {**train, 'losses': losses}
        if cls.GENERATOR_LOSSES and not any(given.get(key) for key in cls.GENERATOR_LOSSES):
            yield (
                'train',
                f'none of {", ".join(cls.GENERATOR_LOSSES)} is given, so {cls.__name__} has no loss. Add one, for '
                'instance pixel_opt: {type: L1Loss}.',
            )
        if isinstance(train.get('grad_clip'), dict):
            try:
                Precision(None, 'cpu', train['grad_clip'])
            except ValueError as error:
                yield 'train:grad_clip', str(error).removeprefix('grad_clip ')
        if isinstance(train.get('augment'), dict):
            if not cls.DEGRADES:
                yield 'train:augment', f'it mixes pairs, and {cls.__name__} has none. Remove it.'
            try:
                BatchAugmentation(**train['augment'])
            except ValueError as error:
                yield 'train:augment', str(error)
            except TypeError:  # keys and kinds of values, of which the check says more
                pass
        if isinstance(train.get('compile'), dict):
            arguments = dict(train['compile'])
            for name in arguments.pop('networks', None) or ():
                if not opt.get(f'network_{name}'):
                    yield 'train:compile:networks', f"there is no network_{name} to compile. Remove '{name}'."
            try:
                torch.compile(nn.Identity(), **arguments)
            except Exception as error:  # each of its parts has its own
                yield 'train:compile', f'torch.compile refuses it: {error}'
        gpus = opt.get('num_gpu')
        if isinstance(gpus, int) and gpus > 1 and not opt.get('dist') and (train.get('amp') or train.get('compile')):
            yield (
                'train',
                'amp and compile work with one process a GPU, not with DataParallel. Start with torchrun and '
                '--launcher pytorch.',
            )
        for name in losses:
            style = name.endswith('_style') and name.removesuffix('_style') in losses  # of a perceptual loss
            if f'{name}_opt' in train or name in RESERVED or style:
                yield f'train:losses:{name}', 'the log has another value of this name. Choose another name.'
            loss = registered(LOSS_REGISTRY, losses[name])
            asked = signature(loss.forward).parameters if hasattr(loss, 'forward') else {}
            if list(asked)[2:3] == ['weight']:  # self, the image, and no second image
                yield f'train:losses:{name}', f'{losses[name]["type"]} compares nothing. Use it as train:tv_opt.'
            if 'sr_ema' in asked and not train.get('ema_decay'):
                yield f'train:losses:{name}', 'needs averaged weights. Set train:ema_decay, such as 0.999.'
        if opt.get('degrade') and not cls.DEGRADES:
            yield 'degrade', f'{cls.__name__} learns a degradation itself. Remove it.'
        batch = ((opt.get('datasets') or {}).get('train') or {}).get('batch_size_per_gpu')
        parts = train.get('accumulate', 1)
        if isinstance(batch, int) and isinstance(parts, int) and parts > 0 and batch % parts:
            yield 'train:accumulate', UNEVEN.format(batch, parts)

    def __init__(self, opt: dict):
        for path, problem in self.option_problems(opt):
            raise ValueError(f'{path}{" " if problem.startswith(("must ", "is ")) else ": "}{problem}')
        train_opt = opt.get('train') or {}
        device_type = 'cuda' if opt['num_gpu'] != 0 else 'cpu'
        self.channels_last = bool(train_opt.get('channels_last'))
        self.compile = train_opt.get('compile') or None
        self.precision = Precision(train_opt.get('amp'), device_type, train_opt.get('grad_clip'))
        self.loss_dict: dict[str, Tensor] = OrderedDict()
        super().__init__(opt)

    def model_to_device(self, net: nn.Module, name: str = 'g') -> nn.Module:
        """Move ``net_<name>`` to the device in the wanted memory format, compile it, wrap it for distribution."""
        if self.channels_last:
            layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
            linear = [isinstance(layer, nn.Linear) for layer in layers]
            if linear != sorted(linear):  # a transformer, whose ``view`` between its layers needs the plain format
                net.register_forward_pre_hook(_plain_input)
            else:
                in_memory_format(net, torch.channels_last)
                if True in linear[1:]:  # such as VGGStyleDiscriminator, for its ``view`` before the linear layers
                    layers[linear.index(True) - 1].register_forward_hook(_plain_output)
        if self.opt.get('sync_bn') and self.opt['dist'] and self.device.type == 'cuda':
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        if self.compile:
            arguments = dict(self.compile) if isinstance(self.compile, dict) else {}
            networks = arguments.pop('networks', None)
            if name in (['g'] if networks is None else networks):
                net.compile(**arguments)
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        self.accumulate = self.train_option('accumulate')
        every = self.train_option('log_gradient_norms')
        self.gradient_norms = GradientNorms(every, self.precision, self.LOSS_PREFIX)
        self.net_g.train()
        self.init_ema(self.opt['train'].get('ema_decay', 0))
        self.init_networks()
        self.degrader = self.build_degrader()
        self.augment = BatchAugmentation(**self.train_option('augment')) if self.train_option('augment') else None
        self.init_losses()
        self.setup_optimizers()
        self.setup_schedulers()

    def train_option(self, key: str) -> Any:
        """``train:<key>``; where it is left out or ``~``, the default that ``TrainOptions`` declares."""
        value = self.opt['train'].get(key)
        if value is not None:
            return value
        declared = (vars(base).get('TrainOptions') for base in type(self).__mro__)
        return next(field.default for form in declared if form for field in fields(form) if field.name == key)

    def init_ema(self, decay: float) -> None:
        """Build ``net_g_ema`` from the pretrained weights, or as a copy of ``net_g``."""
        self.ema_decay = decay
        if decay <= 0:
            return
        get_root_logger().info(f'Use Exponential Moving Average with decay: {decay}')
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device).eval()
        if self.channels_last:
            in_memory_format(self.net_g_ema, torch.channels_last)
        self._average = WeightAverage(self.get_bare_model(self.net_g), self.net_g_ema)
        load_path = self.opt['path'].get('pretrain_network_g')
        if load_path is not None and not self.opt['path'].get('strict_load_g_except'):
            key = self.opt['path'].get('param_key_g', 'params')
            key = 'params_ema' if key == 'params' else key  # by default averaged weights, where the file has them
            self.load_network(self.net_g_ema, load_path, self.opt['path'].get('strict_load_g', True), key)
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
        problem = weights_problem(bare, weights, load_path, option_suffix(self, net), strict=strict)
        if problem:
            raise ValueError(problem)
        bare.load_state_dict(weights, strict=strict)
        taken = [name for name, _ in bare.named_children() if name not in layers]
        get_root_logger().info(
            f'Loaded from {load_path}: {", ".join(taken)}. Left at their initial weights ({key}): {", ".join(layers)}.'
        )

    def init_networks(self) -> None:
        """Networks beside the generator; none here."""

    def build_degrader(self) -> Degrader | None:
        """What makes LQ images while training, or None where the dataset gives them."""
        if not self.opt.get('degrade'):
            return None
        try:
            return Degrader.from_options(self.opt['degrade'], self.opt['scale'], self.opt['manual_seed'], self.device)
        except (ValueError, TypeError, OSError) as error:
            raise ValueError(f'degrade: {error}') from error

    def init_losses(self) -> None:
        """Build the losses that the options name."""
        self.cri_pix = self.build_loss('pixel_opt')
        self.cri_perceptual = self.build_loss('perceptual_opt')
        self.cri_tv = self.build_loss('tv_opt')
        sections = _further_losses(self.opt['train'])
        self.losses = {name: self._built(section, f'train:losses:{name}') for name, section in sections.items()}
        self._asks = {name: signature(loss.forward).parameters.keys() & ASKED for name, loss in self.losses.items()}

    def build_loss(self, key: str) -> Any:
        """The loss of ``train:<key>`` on the device, or None where the option file has none."""
        loss_opt = self.opt['train'].get(key)
        return self._built(loss_opt, f'train:{key}') if loss_opt else None

    def _built(self, loss_opt: dict, path: str) -> nn.Module:
        try:
            return build_loss(loss_opt).to(self.device)
        except (ValueError, TypeError, OSError) as error:
            raise ValueError(f'{path}: {error}') from error

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

    def resume_training(self, resume_state: dict) -> None:
        """BasicSR's; what optimizers keep of weights gets their memory format, which fused ones take for granted."""
        super().resume_training(resume_state)
        for optimizer in self.optimizers:
            for parameter, kept in optimizer.state.items():
                for key, value in kept.items():
                    alike = isinstance(value, Tensor) and value.shape == parameter.shape
                    if alike and value.stride() != parameter.stride():
                        kept[key] = torch.empty_like(parameter.detach(), dtype=value.dtype).copy_(value)

    def setup_schedulers(self) -> None:
        """One scheduler an optimizer. LinearDecayLR ends at ``train:total_iter`` unless it says otherwise."""
        arguments = dict(self.opt['train']['scheduler'])
        name = arguments.pop('type')
        scheduler_class = self.SCHEDULERS.get(name) or getattr(torch.optim.lr_scheduler, name, None)
        if scheduler_class is None:
            raise ValueError(
                f"train:scheduler:type '{name}' is unknown. Ours and BasicSR's: {sorted(self.SCHEDULERS)}; "
                'or any class of torch.optim.lr_scheduler.'
            )
        if scheduler_class is LinearDecayLR:
            arguments.setdefault('total_iter', int(self.opt['train']['total_iter']))
        self.schedulers.extend(scheduler_class(optimizer, **arguments) for optimizer in self.optimizers)

    # ------------------------------------------------------------------ the step
    def feed_data(self, data: dict) -> None:
        self.lq: Any = self._to_device(data['lq']) if 'lq' in data else None
        if self.lq is None and self.degrader is None:
            raise ValueError(
                'datasets:train: the batches have no lq. Use PairedImageDataset, or the section degrade, which makes '
                'it.'
            )
        if 'gt' in data:
            self.gt = self._to_device(data['gt'])
        self.sample_keys = data.get('sample_key')

    def _to_device(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        return images.to(self.device, non_blocking=True, memory_format=layout)

    def optimize_parameters(self, current_iter: int) -> None:
        self.start_step(current_iter)
        self.supervised_step(self.generator_losses)

    def start_step(self, current_iter: int) -> None:
        """What every step begins with: LQ images, where training makes them, and mixtures of pairs."""
        self.gradient_norms.start(current_iter)
        if self.degrader is not None:
            made = self.degrader(self.gt, self.lq, self.sample_keys)
            self.lq, self.gt, self.real = (self._to_device(images) for images in made)
        if self.augment is not None:
            rng = np.random.default_rng([self.opt['manual_seed'], current_iter, self.opt['rank']])
            images = [self.lq, self.gt] if self.real is None else [self.lq, self.gt, self.real]
            self.lq, self.gt, *real = map(self._to_device, self.augment(rng, *images))
            self.real = real[0] if real else None

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
        more = {'lq': self.lq_chunk} if self.losses else {}
        if any('sr_ema' in asked for asked in self._asks.values()):
            with torch.no_grad():
                more['sr_ema'] = self.net_g_ema(self.lq_chunk)
        for name, loss in self.losses.items():
            value = loss(sr, gt, **{key: more[key] for key in self._asks[name]})
            if isinstance(value, tuple):  # a perceptual loss
                value, style = value
                if style is not None:
                    losses[f'{self.LOSS_PREFIX}{name}_style'] = style
            if value is not None:
                losses[f'{self.LOSS_PREFIX}{name}'] = value
        return losses

    def chunks(self, *networks: nn.Module) -> Iterator[tuple[Tensor, Any]]:
        """The batch in ``train:accumulate`` equal parts. Gradients are reduced over ranks with the last one only."""
        if len(self.lq) % self.accumulate:  # of a loader that does not follow the option file
            raise ValueError(f'train:accumulate: {UNEVEN.format(len(self.lq), self.accumulate)}')
        net = self.get_bare_model(self.net_g)
        if isinstance(net, LumaNetwork) and (problem := net.training_problem(self.lq.shape[1])):
            raise ValueError(problem)
        parts = list(zip(self.lq.chunk(self.accumulate), self.target_chunks(), strict=True))
        real = [None] * len(parts) if self.real is None else self.real.chunk(self.accumulate)
        for number, part in enumerate(parts, 1):
            self.lq_chunk = part[0]  # for losses that ask for it
            self.real_chunk = real[number - 1]
            with ExitStack() as stack:
                for net in networks if number < len(parts) else ():
                    if isinstance(net, DistributedDataParallel):
                        stack.enter_context(net.no_sync())
                yield part

    def target_chunks(self) -> Sequence[Any]:
        """What the chunks' outputs are compared with: ``gt`` of the methods that get a chunk."""
        return self.gt.chunk(self.accumulate)

    def share(self, loss: Tensor) -> Tensor:
        """A chunk's loss as its part of the batch's, scaled for mixed precision: what ``backward`` is called on."""
        return self.precision.scale(loss / self.accumulate if self.accumulate > 1 else loss)

    def measure_gradients(self, losses: dict[str, Tensor], sr: Tensor) -> None:
        """Measure the gradients of a chunk's losses at the generated images, where the losses are new or it is due."""
        if self.gradient_norms.wants(losses):
            self.gradient_norms.measure({name: self.share(loss) for name, loss in losses.items()}, sr)

    def update_ema(self) -> None:
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def model_ema(self, decay: float = 0.999) -> None:
        self._average.update(decay)

    def step_state(self) -> dict[str, Any]:
        """What a resumed run needs besides networks, optimizers and schedules; saved in the training state."""
        kept = {}
        for name, loss in self.losses.items():
            fixed = dict(loss.named_parameters())  # of networks such as a VGG
            kept[name] = {key: value for key, value in loss.state_dict().items() if key not in fixed}
        return {
            'gradient_norms': dict(self.gradient_norms.values),  # in every log line until the next measurement
            **({'losses': kept} if any(kept.values()) else {}),
            **({'degrade': self.degrader.state_dict()} if self.degrader is not None else {}),
        }

    def load_step_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`step_state` returned."""
        norms = state.get('gradient_norms', {})
        self.gradient_norms.values = {name: value.to(self.device) for name, value in norms.items()}
        if self.degrader is not None:
            self.degrader.load_state_dict(state.get('degrade', {}))
        for name, kept in state.get('losses', {}).items():
            if name in self.losses:  # it may have been taken out of the option file
                self.losses[name].load_state_dict(kept, strict=False)

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

    def gradient_report(self) -> list[str]:
        """Once for losses that are new: how strongly each pulls at the generated images, then doubts, in words."""
        return self.gradient_norms.report()

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

    def test(self) -> None:
        """BasicSR's, in the precision of ``val:amp``."""
        amp = (self.opt.get('val') or {}).get('amp')
        with torch.autocast(self.device.type, AMP_TYPES[amp]) if amp else nullcontext():
            super().test()
        self.output = self.output.float()

    _panels_written_at: int | None = None
    degrader: Degrader | None = None
    real: Tensor | None = None  # what the discriminator sees as real, where it is not gt
    real_chunk: Tensor | None = None
