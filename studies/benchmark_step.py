"""Time our training step against BasicSR's: the same networks, batches and losses, alternating in one run.

Example:
    python studies/benchmark_step.py --json step.json
    python studies/benchmark_step.py --case MSRResNet --perceptual --rounds 20

A round times BasicSR's ESRGANModel, our GANSRModel, and ours with the mask, one step each, in an order that rotates.
The figures are medians over rounds of the ratio within a round, with the quartiles: on a shared machine only ratios of
neighbours mean something.
"""

import json
import statistics
import sys
from functools import partial
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from ext_core.atomic import atomic_write_text
from ext_core.use.timing import alternate, ratio
from studies.side_by_side import benchmark_parser, model_options, one_step, prepare, shown

GENERATORS = {
    'MSRResNet': {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16, 'upscale': 4},
    'EDSR': {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16, 'upscale': 4},
    'RRDBNet': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 23, 'num_grow_ch': 32},
}
DISCRIMINATOR = {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 64, 'input_size': 128}
ADAM = {'type': 'Adam', 'lr': 1e-4, 'betas': [0.9, 0.99]}
PERCEPTUAL = {'layer_weights': {'conv5_4': 1}, 'vgg_type': 'vgg19', 'criterion': 'l1'}
GT_SIZE = 128
VARIANTS = ('basicsr', 'ours', 'ours + mask')


def options(generator: str, perceptual: bool, **changes) -> dict:
    """Resolved options of one variant. The perceptual loss has untrained weights, which cost the same time."""
    train = {
        'optim_g': dict(ADAM),  # BasicSR's model empties them
        'optim_d': dict(ADAM),
        'ema_decay': 0.999,
        'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1e-2},
        'gan_opt': changes.pop('gan_opt'),
        **changes,
    }
    if perceptual:
        ours = {'type': 'VGGFeatureLoss', 'weights': 'random'}
        train['perceptual_opt'] = PERCEPTUAL | (
            ours if train['gan_opt']['type'] != 'GANLoss' else {'type': 'PerceptualLoss'}
        )
    else:
        train['perceptual_opt'] = None
    model_type = 'ESRGANModel' if train['gan_opt']['type'] == 'GANLoss' else 'GANSRModel'
    return model_options(model_type, train, network_g=GENERATORS[generator], network_d=DISCRIMINATOR)


def build(generator: str, perceptual: bool) -> dict:
    """One model a variant."""
    from basicsr.models import build_model
    from torchvision.models import vgg19

    objective = {'gan_type': 'vanilla', 'loss_weight': 5e-3}
    gan = {
        'basicsr': {'type': 'GANLoss', 'real_label_val': 1.0, 'fake_label_val': 0.0, **objective},
        'ours': {'type': 'RelativisticAdversarialLoss', **objective},
    }
    gan['ours + mask'] = gan['ours']
    models = {}
    with mock.patch('basicsr.archs.vgg_arch.vgg.vgg19', side_effect=lambda pretrained: vgg19(weights=None)):
        for variant in VARIANTS:
            mask = {'mask_opt': {'type': 'ErrorMask'}} if variant == 'ours + mask' else {}
            torch.manual_seed(0)
            models[variant] = build_model(options(generator, perceptual, gan_opt=gan[variant], **mask))
    return models


def measure(generator: str, perceptual: bool, batch_size: int, rounds: int) -> dict:
    """Medians and quartiles of the ratios for one generator."""
    models = build(generator, perceptual)
    batch = {
        'lq': torch.rand(batch_size, 3, GT_SIZE // 4, GT_SIZE // 4),
        'gt': torch.rand(batch_size, 3, GT_SIZE, GT_SIZE),
    }
    seconds = alternate({variant: partial(one_step, model, batch) for variant, model in models.items()}, rounds)
    steps = {'ours / basicsr': ('ours', 'basicsr'), 'masked / unmasked': ('ours + mask', 'ours')}
    result: dict = {
        'generator': generator,
        'perceptual': perceptual,
        'batch_size': batch_size,
        'rounds': rounds,
        'basicsr_seconds': statistics.median(seconds['basicsr']),
    }
    for name, (above, below) in steps.items():
        result[name] = ratio(seconds[above], seconds[below])
    gt = batch['gt'].to(models['ours'].device)
    alone = alternate({'mask': partial(mask_step, models['ours + mask'].views[0], gt)}, rounds)['mask']
    result['mask alone / unmasked'] = statistics.median(alone) / statistics.median(seconds['ours'])
    return result


def mask_step(mask: torch.nn.Module, gt: torch.Tensor) -> None:
    """The mask's forward and backward by themselves, which resolves what whole steps cannot."""
    sr = torch.rand_like(gt).requires_grad_()
    masked_sr, masked_gt = mask(sr, gt)
    torch.autograd.grad(masked_sr.sum() + masked_gt.sum(), sr)


def main(argv: list[str] | None = None) -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument('--case', nargs='+', choices=GENERATORS, default=list(GENERATORS), help='generators')
    parser.add_argument('--perceptual', action='store_true', help='with the VGG19 perceptual loss of ESRGAN')
    args = parser.parse_args(argv)
    prepare(args)
    results = []
    print(f'{"generator":10} {"ours / basicsr (quartiles)":28} {"masked / unmasked":26} {"mask alone":10} basicsr s')
    for generator in args.case:
        result = measure(generator, args.perceptual, args.batch, args.rounds)
        results.append(result)
        cells = [shown(result[name]) for name in ('ours / basicsr', 'masked / unmasked')]
        print(
            f'{generator:10} {cells[0]:28} {cells[1]:26} {result["mask alone / unmasked"]:<10.4f} '
            f'{result["basicsr_seconds"]:.3f}',
            flush=True,
        )
    if args.json:
        atomic_write_text(json.dumps(results, indent=1) + '\n', args.json)


if __name__ == '__main__':
    main()
