"""Time the VGG-energy GAN's step against SRGAN's, and see where the time goes: variants alternate in one run.

Example:
    python studies/benchmark_energy.py --json energy.json
    python studies/benchmark_energy.py --batch 4 --crop 96 --rounds 20

A round times 16 iterations of each variant, as many as the rarest penalty needs. The figures are the
medians over rounds of the ratio to SRGAN's within a round, with the quartiles. The networks are those of
options/train_srgan.yml and options/train_vgg_srgan.yml (VGG19, untrained, which costs the same time).
"""

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from ext_core.atomic import atomic_write_text
from ext_core.use.cost import alternate, ratio
from studies.side_by_side import benchmark_parser, model_options, one_step, prepare, shown

SRGAN = 'SRGAN'
GENERATOR = {'type': 'SRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16, 'upscale': 4}
ROUND = 16  # iterations
FAST: dict[str, Any] = {'amp': 'bf16', 'channels_last': True}


def variants(crop: int, vgg: str) -> dict[str, tuple[dict, dict]]:
    """Discriminator, and keys of ``train``, of every variant; ``vgg`` is the file of VGG19's weights."""
    content = {'type': 'VGGFeatureLoss', 'layer_weights': {'relu5_4': 1}, 'criterion': 'l2', 'weights': vgg}
    common: dict = {'perceptual_opt': content}

    def srgan(**train: Any) -> tuple[dict, dict]:
        discriminator = {'type': 'PESRDiscriminator', 'input_size': crop}
        return discriminator, common | {'gan_opt': {'type': 'AdversarialLoss'}} | train

    def energy(every: int = 4, num_conv: int = 1, **train: Any) -> tuple[dict, dict]:
        penalty = {'gp_opt': {'type': 'EnergyGradientPenalty', 'every': every}} if every else {}
        discriminator = {'type': 'VGGUAE', 'weights': vgg, 'num_conv': num_conv}
        return discriminator, common | {'gan_opt': {'type': 'EnergyGANLoss'}} | penalty | train

    return {
        SRGAN: srgan(),
        'content loss only': ({}, common),
        'energy': energy(),
        'two convolutions a level': energy(num_conv=2),
        'penalty in every 16th iteration': energy(16),
        'penalty in every iteration': energy(1),
        'without penalty': energy(0),
        'own VGG pass': energy(share_vgg=False),
        'SRGAN, bf16': srgan(**FAST),
        'energy, bf16': energy(**FAST),
    }


def options(network_d: dict, train: dict) -> dict:
    """Resolved options of one variant."""
    adam = {'type': 'Adam', 'lr': 1e-4}
    models = {'VGGUAE': 'EnergyGANModel', 'PESRDiscriminator': 'GANSRModel', None: 'ExtSRModel'}
    train = {'optim_g': adam, 'optim_d': adam, **train}
    return model_options(models[network_d.get('type')], train, network_g=GENERATOR, network_d=network_d)


def measure(batch_size: int, crop: int, rounds: int) -> dict:
    """Ratios to SRGAN's time."""
    from basicsr.models import build_model

    from ext_arch.pretrained import load_feature_weights

    with tempfile.TemporaryDirectory() as folder:
        vgg = str(Path(folder) / 'vgg19.pth')
        torch.save(load_feature_weights('vgg19', 'random'), vgg)
        models = {name: build_model(options(*parts)) for name, parts in variants(crop, vgg).items()}
    batch = {
        'lq': torch.rand(batch_size, 3, crop // 4, crop // 4),
        'gt': torch.rand(batch_size, 3, crop, crop),
    }

    def iterations(model: Any) -> None:
        for _ in range(ROUND):
            one_step(model, batch)

    seconds = alternate({name: partial(iterations, model) for name, model in models.items()}, rounds)
    return {name: ratio(values, seconds[SRGAN]) for name, values in seconds.items()}


def main(argv: list[str] | None = None) -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument('--crop', type=int, default=96, help='side of the HR images in pixels, a multiple of 16')
    args = parser.parse_args(argv)
    prepare(args)
    results = measure(args.batch, args.crop, args.rounds)
    print(f'{"step":30} ÷ {SRGAN} (quartiles)')
    for name, result in results.items():
        print(f'{name:30} {shown(result)}')
    if args.json:
        atomic_write_text(json.dumps(vars(args) | {'json': None, 'ratios': results}, indent=1) + '\n', args.json)


if __name__ == '__main__':
    main()
