"""The adversarial training step, written once: every paper's GAN is this one with options or a small override."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from basicsr.archs import build_network
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ext_models.ext_sr_model import ExtSRModel, total
from ext_models.gradient_norms import gradient_at
from ext_models.registries import registered


@dataclass(kw_only=True)
class OptionalDiscriminator:
    """``FileOptions`` of a model that also trains without an opponent."""

    network_d: Annotated[dict | None, 'The discriminator, by type; needed with gan_opt.'] = None


@dataclass(kw_only=True)
class OptionalObjective:
    """``TrainOptions`` of a model that also trains without an opponent."""

    gan_opt: Annotated[dict | None, 'The objective; with it network_d and optim_d are needed.'] = None
    optim_d: Annotated[dict | None, "The discriminator's optimizer, as optim_g; needed with gan_opt."] = None


def _having(attribute: str) -> str:
    return ', '.join(sorted(name for name, loss in LOSS_REGISTRY if hasattr(loss, attribute)))


@MODEL_REGISTRY.register()
class GANSRModel(ExtSRModel):
    """A generator, a discriminator, an adversarial objective, and views of what the discriminator sees.

    The discriminator's weights do not change between the generator's and the discriminator's step, so real and fake
    pass it **once** each (BasicSR: three passes for SRGAN, five for ESRGAN). The generator's adversarial gradient is
    taken at the super-resolved image and injected there; the discriminator's loss goes backward into its own
    parameters only. Losses and weights are those of BasicSR's SRGANModel and ESRGANModel. Two things differ, neither
    of which training reads: BatchNorm's running statistics advance twice an iteration instead of three or five times;
    and, with spectral norm, so does the power iteration, which makes the singular values slightly less converged.

    A view (``mask_opt``, ``highpass_opt``) is a module that maps (sr, gt) to what the discriminator gets of them, with
    ``statistics()`` and ``panels()`` for the log. Views are applied in the order of the option file. Which phase it is
    follows from the iteration, so a resumed run is in the right one.
    """

    @dataclass(kw_only=True)
    class FileOptions:
        """Top-level keys."""

        network_d: Annotated[dict, 'The discriminator, by type.']

    @dataclass(kw_only=True)
    class TrainOptions:
        """Keys of ``train`` beside ExtSRModel's."""

        gan_opt: Annotated[
            dict,
            'The objective, a loss with `generator_loss` and `discriminator_losses`: AdversarialLoss, '
            'RelativisticAdversarialLoss, FocalRelativisticAdversarialLoss, FrequencyGANLoss, EnergyGANLoss.',
        ]
        optim_d: Annotated[dict, "The discriminator's optimizer, as optim_g."]
        net_d_iters: Annotated[int, {'minimum': 1}, 'Train the generator in every Nth iteration only.'] = 1
        net_d_init_iters: Annotated[int, {'minimum': 0}, 'Iterations before the generator is trained at all.'] = 0
        pretrain_iters: Annotated[
            int | None,
            {'minimum': 0},
            'First iterations, in which the generator trains alone, on pretrain_opt.',
        ] = 0
        pretrain_opt: Annotated[dict | None, 'The loss of those iterations.'] = None
        mask_opt: Annotated[dict | None, 'A view: images times a mask of the error.'] = None
        highpass_opt: Annotated[dict | None, 'A view: high frequencies.'] = None

    GENERATOR_LOSSES: tuple[str, ...] = ()  # it has its opponent
    OPPONENT = ('network_d', 'train:gan_opt', 'train:optim_d')  # they come together
    VIEW_KEYS = ('mask_opt', 'highpass_opt')
    LOSS_PREFIX = 'l_g_'

    @classmethod
    def option_problems(cls, opt: dict) -> Iterator[tuple[str, str]]:
        yield from super().option_problems(opt)
        if not opt['is_train']:
            return
        train = opt.get('train') or {}
        given = [path for path in cls.OPPONENT if opt.get(path) or train.get(path.removeprefix('train:'))]
        for path in cls.OPPONENT if given else ():
            if path not in given:
                others = ' and '.join(given)
                yield path, f'is missing: {others} cannot be used without it. Add it, or set {others} to ~.'
        defaults = {**dict.fromkeys(cls.VIEW_KEYS), 'net_d_iters': 1, 'net_d_init_iters': 0}
        for key, default in defaults.items() if not given else ():
            if train.get(key) not in (None, default):
                yield f'train:{key}', 'has no effect without gan_opt. Remove it, or add gan_opt, network_d and optim_d.'
        if bool(train.get('pretrain_iters')) != bool(train.get('pretrain_opt')):
            yield 'train', 'pretrain_iters and pretrain_opt belong together. Give both, or none.'
        objective = registered(LOSS_REGISTRY, train.get('gan_opt'))
        if objective is not None and not hasattr(objective, 'generator_loss'):
            yield (
                'train:gan_opt:type',
                f"'{train['gan_opt']['type']}' is no adversarial objective for {cls.__name__}. Use one of: "
                f'{_having("generator_loss")}. AdversarialLoss (as in SRGAN) and RelativisticAdversarialLoss (as in '
                "ESRGAN) take GANLoss's arguments.",
            )
        if hasattr(objective, 'panels') and train.get('highpass_opt'):
            yield (
                'train:highpass_opt',
                f'{objective.__name__} of train:gan_opt filters the images already. Remove highpass_opt, or use '
                'gan_opt: {type: AdversarialLoss}.',
            )
        for key in cls.VIEW_KEYS:
            view = registered(LOSS_REGISTRY, train.get(key))
            if view is not None and not hasattr(view, 'panels'):
                yield (
                    f'train:{key}:type',
                    f'{train[key]["type"]} is no view of images. Use one of: {_having("panels")}.',
                )

    # ------------------------------------------------------------------ construction
    def init_networks(self) -> None:
        self.net_d: Any = None  # where a subclass lets gan_opt be absent, the generator trains without an opponent
        if not self.opt['train'].get('gan_opt'):
            return
        path_opt = self.opt['path']
        self.net_d = self.model_to_device(build_network(self.opt['network_d']), 'd')
        self.print_network(self.net_d)
        if path_opt.get('pretrain_network_d') is not None:
            self.load_network(
                self.net_d,
                path_opt['pretrain_network_d'],
                path_opt.get('strict_load_d', True),
                path_opt.get('param_key_d', 'params'),
            )
        if isinstance(self.net_d, DistributedDataParallel):
            # Two forward passes precede one backward pass; a broadcast of buffers between them would modify what
            # BatchNorm saved for the first. The buffers start equal on all ranks and nothing in training reads them.
            self.net_d.broadcast_buffers = False
        self.net_d.train()

    def init_losses(self) -> None:
        super().init_losses()
        self.cri_pretrain = self.build_loss('pretrain_opt')
        self.pretrain_iters = self.train_option('pretrain_iters')
        self.objective = self.build_loss('gan_opt')
        train = self.opt['train']
        wanted = [key for key in train if key in self.VIEW_KEYS and train[key]]
        self.views: Any = nn.ModuleList(self.build_loss(key) for key in wanted)
        if hasattr(self.objective, 'panels'):  # an objective that is a view too, such as FrequencyGANLoss
            self.views.append(self.objective)
        self.net_d_iters = self.train_option('net_d_iters')
        self.net_d_init_iters = self.train_option('net_d_init_iters')

    def setup_optimizers(self) -> None:
        super().setup_optimizers()
        if self.net_d is not None:
            self.optimizer_d = self.add_optimizer('optim_d', self.net_d)

    # ------------------------------------------------------------------ the step
    def optimize_parameters(self, current_iter: int) -> None:
        self.start_step(current_iter)
        if current_iter <= self.pretrain_iters:
            self.supervised_step(self.pretrain_losses)
        elif self.net_d is None:
            self.supervised_step(self.generator_losses)
        else:
            self.gan_step(current_iter)

    def phase_ends(self) -> dict[str, int]:
        """The last iterations of the phases before the last one, in their order; what ``--dry-run`` tries."""
        alone = {'discriminator alone': self.net_d_init_iters} if self.net_d is not None else {}
        return {'generator alone': self.pretrain_iters, **alone}

    @property
    def step_period(self) -> int:
        """In the last phase, every update has been due once within this many iterations."""
        return self.net_d_iters if self.net_d is not None else 1

    def pretrain_losses(self, sr: Tensor, gt: Any) -> dict[str, Tensor]:
        """The generator's losses in the first ``pretrain_iters`` iterations."""
        return {'l_g_pretrain': self.cri_pretrain(sr, gt)}

    def gan_step(self, current_iter: int) -> None:
        """One update of the discriminator and, when it is its turn, of the generator."""
        update_g = current_iter % self.net_d_iters == 0 and current_iter > self.net_d_init_iters
        self.optimizer_g.zero_grad()
        self.optimizer_d.zero_grad()
        self.loss_dict = OrderedDict()
        outputs = []
        for lq, gt in self.chunks(self.net_g, self.net_d):
            with torch.set_grad_enabled(update_g), self.precision.autocast():
                sr = self.net_g(lq)
            self.adversarial_step(sr, gt, update_g)
            outputs.append(sr.detach())
        self.output = torch.cat(outputs)
        if update_g:
            self.precision.step(self.optimizer_g, self.trainable(self.net_g))
        self.precision.step(self.optimizer_d, self.trainable(self.net_d))
        self.precision.update()
        self.update_ema()

    def adversarial_step(self, sr: Tensor, gt: Any, update_g: bool) -> None:
        """Gradients of both players on one chunk, from one pass of each image through the discriminator."""
        fake = sr.detach().requires_grad_(update_g)
        with self.precision.autocast():
            fake_view, real_view = self.discriminator_views(fake, gt)
            real_logits = self.net_d(real_view)
            fake_logits = self.net_d(fake_view)
        if update_g:
            self.g_step(sr, gt, fake, self.losses_at_fake(real_logits, fake_logits))
        self.d_step(self.discriminator_losses(real_logits, fake_logits), real_logits, fake_logits)

    def discriminator_views(self, sr: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        """What the discriminator gets of the generated and of the real images.

        A subclass whose ``gt`` is no image to be shown (see ``target_chunks``) passes the one that is. Where training
        sharpens ``gt`` (``degrade:gt_usm``), it is replaced by the image as it was.
        """
        gt = gt if self.real_chunk is None else self.real_chunk
        for view in self.views:
            sr, gt = view(sr, gt)
        return sr, gt

    def losses_at_fake(self, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """The generator's losses on the discriminator's outputs; their gradient is taken at ``fake``."""
        with self.precision.autocast():
            return {'l_g_gan': self.objective.generator_loss(real_logits, fake_logits)}

    def g_step(self, sr: Tensor, gt: Any, fake: Tensor, at_fake: dict[str, Tensor]) -> None:
        """Backward of the generator: its own losses, with the gradient of others at ``fake`` injected at ``sr``."""
        with self.precision.autocast():
            losses = self.generator_losses(sr, gt)
        gradient = gradient_at(self.share(total(at_fake)), fake)
        if gradient is None:
            raise ValueError(
                f'{", ".join(at_fake)} does not depend on the generated images, so the generator would learn nothing '
                'of it. Look for a detach() in the classes of train:gan_opt, network_d and the views.'
            )
        self.measure_gradients(losses, sr)
        self.measure_gradients(at_fake, fake)
        # The injected gradient comes first: autograd then adds the terms at ``sr`` in the order BasicSR's graph does.
        roots: list[Tensor] = [sr]
        gradients: list[Tensor | None] = [gradient]
        if losses:
            roots.append(self.share(total(losses)))
            gradients.append(None)
        torch.autograd.backward(roots, gradients)
        self.add_losses(OrderedDict(losses, **at_fake))

    def discriminator_losses(self, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """The discriminator's losses, by their name in the log."""
        with self.precision.autocast():
            return self.objective.discriminator_losses(real_logits, fake_logits)

    def d_step(self, losses: dict[str, Tensor], real_logits: Tensor, fake_logits: Tensor) -> None:
        """Backward of the discriminator, into its own parameters only."""
        self.share(total(losses)).backward(inputs=self.trainable(self.net_d))
        self.add_losses({**losses, 'out_d_real': real_logits.mean(), 'out_d_fake': fake_logits.mean()})

    # ------------------------------------------------------------------ logging and saving
    def step_state(self) -> dict[str, Any]:
        state = super().step_state()
        return state if self.objective is None else {**state, 'objective': self.objective.state_dict()}

    def load_step_state(self, state: dict[str, Any]) -> None:
        super().load_step_state(state)
        if self.objective is not None:
            self.objective.load_state_dict(state['objective'])

    def log_tensors(self) -> dict[str, Tensor]:
        scalars = OrderedDict(super().log_tensors())
        for component in dict.fromkeys((*self.views, self.objective)):  # an objective may be a view too
            if hasattr(component, 'statistics'):
                scalars.update(component.statistics())
        return scalars

    def panels(self) -> dict[str, Tensor]:
        panels = super().panels()
        for view in self.views:
            panels.update(view.panels())
        return panels

    def save(self, epoch: int, current_iter: int) -> None:
        if self.net_d is not None:
            self.save_network(self.net_d, 'net_d', current_iter)
        super().save(epoch, current_iter)
