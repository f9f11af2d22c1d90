"""The energy GAN: the discriminator's score is a reconstruction error, kept flat at real images."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY
from torch import Tensor

from ext_losses.energy_loss import EnergyGANLoss
from ext_losses.energy_penalty_loss import EnergyGradientPenalty
from ext_models.energy_health import EnergyHealth
from ext_models.gan_sr_model import GANSRModel
from ext_models.registries import registered

SHOWN = 4  # images of a panel


@MODEL_REGISTRY.register()
class EnergyGANModel(GANSRModel):
    """``GANSRModel`` with a gradient penalty, one VGG pass for energy and content loss, and a watch on the energies.

    J_U = E U(real) + E max(0, m - U(fake)) + penalty,   J_G = content + loss_weight * E U(fake) [+ pixel loss, ...]

    ``network_d`` is an autoencoder such as ``VGGUAE``, ``gan_opt`` an ``EnergyGANLoss``.

    Reference: VGG-energy GAN, eq. 1-6 and algorithm 1, with a margin (see ``EnergyGANLoss``).
    """

    @dataclass(kw_only=True)
    class TrainOptions:
        """Keys of ``train`` beside GANSRModel's."""

        gp_opt: Annotated[
            dict | None,
            'EnergyGradientPenalty at real images, as the discriminator sees them. On several GPUs '
            "`wrt: input` is that of the global batch, `wrt: params` each GPU's own.",
        ] = None
        autoencoder_iters: Annotated[
            int | None,
            {'minimum': 0},
            'First iterations, in which the autoencoder trains alone, on real images: until it reconstructs, its error '
            'says nothing about an image.',
        ] = 0
        share_vgg: Annotated[
            bool | None,
            "perceptual_opt takes its features from the discriminator's pass of the same VGG; where it cannot, it has "
            'its own, and the log says why.',
        ] = True

    cri_content: Any = None  # perceptual_opt, where it shares the discriminator's features
    iteration = 0
    penalise = False  # in this iteration
    contrast = True  # in this iteration: generated images are to have high energy

    @classmethod
    def option_problems(cls, opt: dict) -> Iterator[tuple[str, str]]:
        yield from super().option_problems(opt)
        if not opt['is_train']:
            return
        train, network = opt.get('train') or {}, registered(ARCH_REGISTRY, opt.get('network_d'))
        if network is not None and not hasattr(network, 'reconstruct'):
            name = opt['network_d']['type']
            yield 'network_d:type', f"'{name}' gives no energies. EnergyGANModel needs an autoencoder: VGGUAE."
        crop = (opt.get('degrade') or {}).get('gt_size')  # smaller than the dataset's
        crop = crop or ((opt.get('datasets') or {}).get('train') or {}).get('gt_size')
        multiple = getattr(network, 'SIZE_MULTIPLE', 1)
        if isinstance(crop, int) and crop % multiple:
            step = math.lcm(multiple, opt['scale'])
            yield (
                'degrade:gt_size' if (opt.get('degrade') or {}).get('gt_size') else 'datasets:train:gt_size',
                f'is {crop}, but {opt["network_d"]["type"]} takes images of multiples of {multiple}. '
                f'Set it to {max(1, round(crop / step)) * step}.',
            )
        for key, fitting in (('gan_opt', EnergyGANLoss), ('gp_opt', EnergyGradientPenalty)):
            chosen = registered(LOSS_REGISTRY, train.get(key))
            if chosen is not None and not (isinstance(chosen, type) and issubclass(chosen, fitting)):
                name = train[key]['type']
                yield f'train:{key}:type', f"'{name}' takes no energies. EnergyGANModel needs {fitting.__name__}."
        if train.get('gp_opt') and train.get('compile'):
            yield (
                'train:compile',
                'compiled networks cannot be differentiated twice, as gp_opt does. Remove one of both.',
            )

    # ------------------------------------------------------------------ construction
    def init_losses(self) -> None:
        super().init_losses()
        self.cri_gp = self.build_loss('gp_opt')
        self.autoencoder_until = self.pretrain_iters + self.train_option('autoencoder_iters')
        self.net_d_init_iters = max(self.net_d_init_iters, self.autoencoder_until)
        self.health = EnergyHealth()
        if self.cri_perceptual is not None and self.train_option('share_vgg'):
            obstacle = self._sharing_obstacle()
            if obstacle is None:
                encoder = self.get_bare_model(self.net_d).encoder
                encoder.take_also(list(self.cri_perceptual.layer_weights))
                self.cri_perceptual.vgg = encoder  # one copy of the weights
                self.cri_content, self.cri_perceptual = self.cri_perceptual, None
            else:
                get_root_logger().info(f'share_vgg: the content loss has its own pass of the VGG: {obstacle}.')

    def _sharing_obstacle(self) -> str | None:
        """Why the content loss cannot take the discriminator's features, or None."""
        own = getattr(self.cri_perceptual, 'vgg', None)
        encoder = getattr(self.get_bare_model(self.net_d), 'encoder', None)
        if encoder is None or not hasattr(self.cri_perceptual, 'compare'):
            return 'perceptual_opt is not VGGFeatureLoss, or network_d has no VGG encoder'
        if (self.opt.get('degrade') or {}).get('gt_usm'):
            return 'the content loss compares with sharpened images, the discriminator sees them as they are'
        if len(self.views):
            return 'the discriminator sees images through a view, the content loss as they are'
        return encoder.difference(own)

    # ------------------------------------------------------------------ the step
    def phase_ends(self) -> dict[str, int]:
        ends = super().phase_ends()
        last = ends.pop('discriminator alone')
        return {**ends, 'autoencoder alone': self.autoencoder_until, 'discriminator alone': last}

    @property
    def step_period(self) -> int:
        return math.lcm(self.net_d_iters, self.cri_gp.every if self.cri_gp is not None else 1)

    def gan_step(self, current_iter: int) -> None:
        self.iteration = current_iter
        self.penalise = self.cri_gp is not None and current_iter % self.cri_gp.every == 0
        self.contrast = current_iter > self.autoencoder_until
        super().gan_step(current_iter)

    def adversarial_step(self, sr: Tensor, gt: Any, update_g: bool) -> None:
        fake = sr.detach().requires_grad_(update_g)
        with self.precision.autocast():
            fake_view, real_view = self.discriminator_views(fake, gt)
            real_view = real_view.detach().requires_grad_(self.penalise and self.cri_gp.wrt == 'input')
            # the penalty differentiates the real images' energy twice, in float32
            with torch.autocast(self.precision.device_type, enabled=False) if self.penalise else nullcontext():
                real_errors, real_features = self.judge(real_view)
            with torch.set_grad_enabled(self.contrast):
                fake_errors, fake_features = self.judge(fake_view)
        if update_g:
            at_fake = self.losses_at_fake(real_errors, fake_errors)
            if self.cri_content is not None:
                target = {layer: feature.detach() for layer, feature in real_features.items()}
                terms = zip(('l_g_percep', 'l_g_style'), self.cri_content.compare(fake_features, target), strict=True)
                at_fake = OrderedDict({name: loss for name, loss in terms if loss is not None}, **at_fake)
            self.g_step(sr, gt, fake, at_fake)
        losses = self.discriminator_losses(real_errors, fake_errors)
        if not self.contrast:
            del losses['l_d_fake']
        if self.penalise:
            variables = real_view if self.cri_gp.wrt == 'input' else self.trainable(self.net_d)
            losses['l_d_gp'] = self.cri_gp(real_errors, variables)
            self.last_penalty = losses['l_d_gp'].detach()
        self.d_step(losses, real_errors, fake_errors)
        self.energy_maps = {'energy_real': real_errors.detach(), 'energy_fake': fake_errors.detach()}

    def judge(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's squared errors, and its encoder's features where the content loss needs them."""
        if self.cri_content is None:
            return self.net_d(images), {}
        return self.net_d(images, return_features=True)

    # ------------------------------------------------------------------ logging and saving
    def step_state(self) -> dict[str, Any]:
        return {**super().step_state(), 'energy_health': self.health.state_dict(), 'penalty': self.last_penalty}

    def load_step_state(self, state: dict[str, Any]) -> None:
        super().load_step_state(state)
        self.health.load_state_dict(state.get('energy_health', self.health.state_dict()))
        penalty = state.get('penalty')
        self.last_penalty = None if penalty is None else penalty.to(self.device)

    energy_maps: dict[str, Tensor] | None = None  # squared errors of the last chunk
    last_penalty: Tensor | None = None  # the scalar stays in the log until the next one

    def log_tensors(self) -> dict[str, Tensor]:
        scalars = super().log_tensors()
        if self.last_penalty is not None:
            scalars.setdefault('l_d_gp', self.last_penalty)
        return scalars

    def panels(self) -> dict[str, Tensor]:
        """Beside the images: where the energy sits in the last chunk's, on one scale for real and generated ones."""
        panels = super().panels()
        if self.energy_maps:
            shown = {name: errors[:SHOWN].float() for name, errors in self.energy_maps.items()}
            maps = {name: errors.mean(dim=1, keepdim=True) for name, errors in shown.items()}
            brightest = max(image_map.quantile(0.99).item() for image_map in maps.values())
            panels.update({name: (image_map / max(brightest, 1e-12)).clamp(0, 1) for name, image_map in maps.items()})
        return panels

    def get_current_log(self) -> dict[str, float]:
        log = super().get_current_log()
        for sentence in self.health.advice(self.iteration, log):
            get_root_logger().warning(sentence)
        return log
