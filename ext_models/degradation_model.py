"""Stage 1 of two-stage domain adaptation: learn, without pairs, to make LR images as a camera does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zlib import crc32

import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
from torch import Tensor
from tqdm import tqdm

from ext_arch.resize import bicubic_downscale
from ext_data.samples import own_draws
from ext_metrics.domain_gap import colour_distance, gap
from ext_models.degrading import noisy
from ext_models.gan_sr_model import GANSRModel, OptionalDiscriminator, OptionalObjective
from ext_models.registries import registered
from ext_models.shared_validation import conclude, image_path, means, shared

INPUTS = ('gt', 'lq')


class Targets(NamedTuple):
    """What a chunk's generated LR images are compared with: their own bicubic ones, and real ones of other scenes."""

    bicubic: Tensor
    real: Tensor


class Validated(NamedTuple):
    """What a validation keeps of one image: three images of 8 bits, (3, h, w), the first noisy, and its figures."""

    generated: Tensor
    bicubic: Tensor
    real: Tensor
    figures: dict[str, float]


@MODEL_REGISTRY.register()
class DegradationModel(GANSRModel):
    """Trains ``network_g`` to turn HR images into LR images that look like a camera's.

    L = pixel(LR, bicubic) + perceptual(LR, bicubic) + MMD(LR, real) + adversarial(LR, real)

    The first two keep the content, the others close the gap to real LR images, which show other scenes. Each is left
    out where its section is absent or ``~``, so the option file alone makes the published method (MMD), a degradation
    GAN, both, or neither. The step is that of :class:`GANSRModel`, with its accumulation, precision, views and EMA.

    ``network_g`` gets the HR image, or, where its class says ``INPUT = 'lq'``, the bicubic LR image; it returns an LR
    image. Batches are UnpairedImageDataset's: ``gt`` HR (n, c, scale h, scale w), ``real_lq`` (n, c, h, w), range
    [0, 1], and ``lq``, the bicubic LR of ``gt``, which is made on the device where ``make_lq: false`` leaves it out.
    As everywhere, ``self.lq`` is the network's input and ``self.gt`` what its output stays close to: the bicubic LR.

    **Validation** needs no ground truth. Over a whole set, 8-bit as when saved: ``mmd``, ``spectrum_db``, ``colour``
    (generated, with ``train:noise``, to real: ``ext_metrics.domain_gap.gap``), ``colour_drift`` (of the mean colour
    from bicubic, grey levels) and ``psnr_bicubic`` (RGB, dB, without noise). ``val:metrics`` compares each generated
    image with its bicubic one. A second log line sets the gap of the generated beside that of the bicubic images,
    where it started.

    Reference: two-stage domain adaptation, section on the degradation network, eq. 1-3; with gan_opt: Fritsche et al.,
    Frequency Separation for Real-World Super-Resolution, ICCVW 2019.
    """

    FileOptions = OptionalDiscriminator  # type: ignore[assignment]

    @dataclass(kw_only=True)
    class TrainOptions(OptionalObjective):
        """Keys of ``train`` beside GANSRModel's."""

        mmd_opt: Annotated[
            dict | None,
            'A loss of (generated, real) LR images, MMDLoss. With accumulate it is the mean over chunks, and in '
            'distributed training over ranks, unless its own `sync` is true.',
        ] = None
        gan_opt: Annotated[
            dict | None,
            'Optional here; with it network_d and optim_d are needed. The discriminator judges generated against real '
            'LR images, through highpass_opt.',
        ] = None
        noise: Annotated[
            float | None,
            {'minimum': 0},
            'Standard deviation, in levels of 255, of white noise on generated images when they are compared with real '
            'ones: what the sensor adds, and the network cannot. scripts/domain_gap.py measures it.',
        ] = None
        shot_noise: Annotated[
            float | None,
            {'minimum': 0},
            'Likewise of noise whose variance grows with the brightness: its standard deviation at white.',
        ] = None

    DEGRADES = False
    GENERATOR_LOSSES = ('pixel_opt', 'perceptual_opt', 'mmd_opt', 'gan_opt', 'losses')
    PANELS = {'hr': 'hr', 'bicubic': 'gt', 'generated': 'output', 'real': 'real_lq'}
    VALIDATION_FIGURES = {
        'mmd': 'lower',
        'spectrum_db': 'lower',
        'colour': 'lower',
        'colour_drift': 'lower',
        'psnr_bicubic': 'higher',
    }

    @classmethod
    def option_problems(cls, opt: dict) -> Iterator[tuple[str, str]]:
        yield from super().option_problems(opt)
        train = opt.get('train') or {}
        for key in ('noise', 'shot_noise'):
            if opt['is_train'] and train.get(key) and not (train.get('mmd_opt') or train.get('gan_opt')):
                yield f'train:{key}', 'has no effect without mmd_opt or gan_opt. Remove it, or add one of them.'
        if train.get('mask_opt'):
            yield 'train:mask_opt', 'a mask of errors needs pairs, and real LR images have none. Remove it.'
        wanted = getattr(registered(ARCH_REGISTRY, opt.get('network_g')), 'INPUT', INPUTS[0])
        if wanted not in INPUTS:
            name = opt['network_g']['type']
            yield 'network_g:type', f"{name}.INPUT must be one of {', '.join(INPUTS)}, but is '{wanted}'."
        for phase, dataset in (opt.get('datasets') or {}).items():
            if not dataset.get('dataroot_real_lq'):
                yield (
                    f'datasets:{phase}:dataroot_real_lq',
                    f'is missing: {cls.__name__} needs real LR images. Use type UnpairedImageDataset.',
                )
        for name in (opt.get('val') or {}).get('metrics') or {}:
            if name in cls.VALIDATION_FIGURES:
                yield f'val:metrics:{name}', f'{cls.__name__} has a figure of this name. Choose another.'

    # ------------------------------------------------------------------ construction
    def init_losses(self) -> None:
        super().init_losses()
        self.cri_mmd = self.build_loss('mmd_opt')

    # ------------------------------------------------------------------ the step
    def feed_data(self, data: dict) -> None:
        self.hr = self._to_device(data['gt'])
        bicubic = data['lq'] if 'lq' in data else bicubic_downscale(self.hr, self.opt['scale'])
        self.gt = self._to_device(bicubic)
        self.lq = self.gt if getattr(self.get_bare_model(self.net_g), 'INPUT', INPUTS[0]) == 'lq' else self.hr
        self.real_lq = self._to_device(data['real_lq'])

    def target_chunks(self) -> Sequence[Targets]:
        parts = zip(self.gt.chunk(self.accumulate), self.real_lq.chunk(self.accumulate), strict=True)
        return [Targets(*part) for part in parts]

    def pretrain_losses(self, sr: Tensor, gt: Targets) -> dict[str, Tensor]:
        return super().pretrain_losses(sr, gt.bicubic)

    def generator_losses(self, sr: Tensor, gt: Any) -> dict[str, Tensor]:
        losses = super().generator_losses(sr, gt.bicubic)
        if self.cri_mmd:
            losses[f'{self.LOSS_PREFIX}mmd'] = self.cri_mmd(self._photographed(sr), gt.real)
        return losses

    def discriminator_views(self, sr: Tensor, gt: Any) -> tuple[Tensor, Tensor]:
        return super().discriminator_views(self._photographed(sr), gt.real)

    def _photographed(self, images: Tensor) -> Tensor:
        train = self.opt.get('train') or {}
        return noisy(images, train.get('noise') or 0, train.get('shot_noise') or 0)

    # ------------------------------------------------------------------ validation
    def nondist_validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        """Several processes divide the images among them; rank 0, which needs the whole set, gets them all."""
        name = dataloader.dataset.opt['name']
        record = partial(self._validate_image, name=name, current_iter=current_iter, save_img=save_img)
        if self.opt['dist']:
            records = shared(self, dataloader, record)
            if records is None:
                return
        else:
            records = list(map(record, tqdm(dataloader, unit='image', disable=not self.opt['val'].get('pbar', False))))
        generated = [in_floats(record.generated) for record in records]
        bicubic = [in_floats(record.bicubic) for record in records]
        real = [in_floats(record.real) for record in records]
        gaps = {'generated': gap(generated, real), 'bicubic': gap(bicubic, real)}
        results = {key: value for key, value in gaps['generated'].items() if key in self.VALIDATION_FIGURES}
        results['colour_drift'] = colour_distance(generated, bicubic)[0]
        results.update(means([record.figures for record in records]))
        conclude(self, results, name, current_iter, tb_logger)
        lines = [f'Gap to the real images of {name} (0 is none)']
        for images, figures in gaps.items():
            lines.append(f'\t{images:9}  ' + '  '.join(f'{key}: {value:.4f}' for key, value in figures.items()))
            for key, value in figures.items() if tb_logger else ():
                tb_logger.add_scalar(f'gap/{name}/{images}_{key}', value, current_iter)
        get_root_logger().info('\n'.join(lines))

    dist_validation = nondist_validation

    def _validate_image(self, data: dict, name: str, current_iter: int, save_img: bool) -> Validated:
        self.feed_data(data)
        self.test()
        with own_draws(self.output.device):
            torch.manual_seed(crc32(Path(data['lq_path'][0]).name.encode()))  # of each image its own
            noisy_output = self._photographed(self.output)
        batches = (self.output, noisy_output, self.gt, self.real_lq)
        written, generated, bicubic, real = (in_8_bits(batch[0]) for batch in batches)
        for attribute in {'lq', *self.PANELS.values()}:
            delattr(self, attribute)  # whole images: their memory is the training's
        pair = {'img': tensor2img(in_floats(written)), 'img2': tensor2img(in_floats(bicubic))}
        if save_img:
            imwrite(pair['img'], str(image_path(self.opt, name, data['lq_path'][0], current_iter)))
        metrics = {'psnr_bicubic': {'type': 'calculate_psnr', 'crop_border': 0}, **self._metrics()}
        figures = {key: calculate_metric(pair, options) for key, options in metrics.items()}
        return Validated(generated, bicubic, real, figures)

    def _metrics(self) -> dict[str, dict]:
        return self.opt['val'].get('metrics') or {}

    def _initialize_best_metric_results(self, dataset_name: str) -> None:
        """BasicSR's, of the figures too."""
        if not hasattr(self, 'best_metric_results'):
            self.best_metric_results: dict[str, dict] = {}
        better = self.VALIDATION_FIGURES | {key: opt.get('better', 'higher') for key, opt in self._metrics().items()}
        self.best_metric_results.setdefault(
            dataset_name,
            {
                key: {'better': direction, 'val': float('-inf' if direction == 'higher' else 'inf'), 'iter': -1}
                for key, direction in better.items()
            },
        )


def in_8_bits(image: Tensor) -> Tensor:
    """An image (c, h, w) clamped to [0, 1] and rounded to 8 bits, uint8 on the CPU: what is written to disk."""
    return (image.detach().float().cpu().clamp(0, 1) * 255).round().byte()


def in_floats(image: Tensor) -> Tensor:
    """An 8-bit image in [0, 1], float32."""
    return image.float() / 255
