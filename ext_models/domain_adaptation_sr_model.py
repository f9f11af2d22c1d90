"""Stage 2 of two-stage domain adaptation: super-resolution on pairs that a degradation network made."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from ext_models.degradations import TrainedDegradation
from ext_models.degrader import Degrader
from ext_models.gan_sr_model import GANSRModel, OptionalDiscriminator, OptionalObjective


@MODEL_REGISTRY.register()
class DomainAdaptationSRModel(GANSRModel):
    """``GANSRModel`` whose discriminator sees high frequencies, and whose LR images may be made during training.

    **Frequency adversarial loss.** An objective that is a view too, such as ``FrequencyGANLoss``, is applied after the
    views that the option file names: the discriminator sees (mask, then) high-pass of both images in both its steps.
    Without the frequency loss, for an ablation: ``gan_opt: {type: AdversarialLoss}`` is a plain GAN on images, and with
    ``highpass_opt`` beside it filtered after all; ``~`` for gan_opt, network_d and optim_d leaves the content losses.

    **LR images.** Either pairs from disk, written by ``scripts/synthesize_lr.py`` (or bicubic ones, for an ablation).
    Or stage 1's network makes them of each batch's HR images, with no copy on disk (``degrade``): ``HRImageDataset``
    gives HR images only. The network is frozen, in float32 whatever ``amp`` says, and not part of checkpoints. Its
    images are clamped and rounded as written ones are, hence equal to them, but for

    * the frame of a crop, as wide as the network's reach, where a written crop has seen its surroundings; and
    * flips and rotations, which here come before the degradation: a scene is turned, not the photograph of it.

    ``network_degrade`` is the former way to name it: ``path:pretrain_network_degrade`` then names its weights, and
    ``path:ignore_resume_networks`` must list network_degrade, because a resumed run looks for the weights of all other
    networks among its own checkpoints. EMA weights are taken where the file has them.

    Reference: two-stage domain adaptation for real-world super-resolution, stage 2.
    """

    @dataclass(kw_only=True)
    class FileOptions(OptionalDiscriminator):
        """Top-level keys beside GANSRModel's."""

        network_degrade: Annotated[
            dict | None,
            'A degradation network that makes LR images while training, by type, with its weights in '
            '`path:pretrain_network_degrade`: the former way to write `degrade: {type: ..., weights: ...}`.',
        ] = None

    TrainOptions = OptionalObjective  # type: ignore[assignment]
    GENERATOR_LOSSES = ('pixel_opt', 'perceptual_opt', 'gan_opt', 'losses')
    net_degrade: nn.Module | None = None

    @classmethod
    def option_problems(cls, opt: dict) -> Iterator[tuple[str, str]]:
        yield from super().option_problems(opt)
        if not opt['is_train'] or not opt.get('network_degrade'):
            return
        if opt.get('degrade'):
            yield 'network_degrade', 'is a degrade of its own. Remove one of both.'
        scale, path_opt = opt['network_degrade'].get('scale', opt['scale']), opt.get('path') or {}
        if scale != opt['scale']:
            yield 'network_degrade:scale', f'is {scale}, but scale is {opt["scale"]}. Use a network of that scale.'
        if not path_opt.get('pretrain_network_degrade'):
            yield (
                'path:pretrain_network_degrade',
                'is missing: network_degrade is used as stage 1 left it. Name its weights, such as '
                'experiments/train_da_stage1/models/net_g_latest.pth.',
            )
        if 'network_degrade' not in (path_opt.get('ignore_resume_networks') or ()):
            yield (
                'path:ignore_resume_networks',
                'must be [network_degrade]: the network is not saved with the checkpoints, and a resumed run would '
                'look for it there.',
            )
        if path_opt.get('param_key_degrade'):
            yield (
                'path:param_key_degrade',
                'remove it. EMA weights are taken where the file has them; a resumed run would change the key.',
            )

    # ------------------------------------------------------------------ construction
    def build_degrader(self) -> Degrader | None:
        if not self.opt.get('network_degrade'):
            return super().build_degrader()
        path_opt, scale = self.opt['path'], self.opt['scale']
        self.net_degrade = build_network(self.opt['network_degrade']).to(self.device)
        self.print_network(self.net_degrade)
        strict = path_opt.get('strict_load_degrade', True)
        self.load_network(self.net_degrade, path_opt['pretrain_network_degrade'], strict, 'params_ema')
        return Degrader(TrainedDegradation(self.net_degrade, scale), scale, self.opt['manual_seed'], self.device)

    def init_losses(self) -> None:
        super().init_losses()
        names = [type(view).__name__ for view in self.views]
        get_root_logger().info(f'The discriminator sees images through: {", ".join(names) or "nothing, as they are"}.')
