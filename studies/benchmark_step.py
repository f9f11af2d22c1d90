"""Time our GAN step against BasicSR's, and against traiNNer-redux's: equal networks, losses and batches, in one run.

Examples:
    python studies/benchmark_step.py --threads 1 --json step.json
    python studies/benchmark_step.py --threads 1 --objective srgan --redux ../traiNNer-redux

Cases: a small RRDB network with BasicSR's VGG-style discriminator, and the compact network of generators/ with a U-Net
discriminator; L1, VGG19's conv5_4 (untrained, which costs the same time) and the objective. A round times one step of
each variant, in an order that rotates. The figures are medians over rounds of the ratio to BasicSR's step within a
round, with the quartiles: on a shared machine only ratios of neighbours mean something.

traiNNer-redux is imported from a checkout, with the packages that it needs; it has the objective of SRGAN only.
"""

import copy
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from ext_core.atomic import atomic_write_text
from ext_core.use.cost import alternate, ratio
from studies.side_by_side import benchmark_parser, model_options, one_step, prepare, shown

IMAGES = {'num_in_ch': 3, 'num_out_ch': 3}
CASES: dict[str, dict[str, dict]] = {
    'rrdb': {
        'network_g': {'type': 'RRDBNet', **IMAGES, 'num_feat': 32, 'num_block': 6, 'num_grow_ch': 16},
        'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 32, 'input_size': 128},
    },
    'compact': {
        'network_g': {'type': 'SRVGGNetCompact', **IMAGES, 'num_feat': 64, 'num_conv': 16, 'upscale': 4},
        'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 32},
    },
}
OBJECTIVES = {  # of BasicSR and of ours
    'srgan': ('SRGANModel', 'AdversarialLoss'),
    'esrgan': ('ESRGANModel', 'RelativisticAdversarialLoss'),
}
GT_SIZE = 128
BF16 = {'amp': 'bf16', 'channels_last': True}
VARIANTS: dict[str, dict[str, Any]] = {
    'ours, fp32': {},
    'ours, bf16': BF16,
    'ours, bf16, fused': {**BF16, 'fused': True},
    'ours, bf16, masked': {**BF16, 'mask_opt': {'type': 'ErrorMask'}},
}
COMPILED = {'ours, bf16, compiled': {**BF16, 'compile': True}}


def build(case: str, objective: str, changes: dict | None) -> Any:
    """A model of BasicSR (``changes`` is None) or of ours, with these keys of ``train`` besides."""
    from basicsr.models import build_model
    from torchvision.models import vgg19

    stock, ours = OBJECTIVES[objective]
    changes = copy.deepcopy(changes)
    adam = {'type': 'Adam', 'lr': 1e-4, 'betas': [0.9, 0.99]}
    if changes and changes.pop('fused', False):
        adam['fused'] = True
    features = {'layer_weights': {'conv5_4': 1}, 'vgg_type': 'vgg19', 'criterion': 'l1'}
    train = {
        'optim_g': adam,
        'optim_d': dict(adam),  # BasicSR's model empties them
        'ema_decay': 0.999,
        'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1e-2},
        'perceptual_opt': {'type': 'PerceptualLoss', **features}
        if changes is None
        else {'type': 'VGGFeatureLoss', 'weights': 'random', **features},
        'gan_opt': {'type': 'GANLoss' if changes is None else ours, 'gan_type': 'vanilla', 'loss_weight': 5e-3},
        **(changes or {}),
    }
    if changes is None:
        train['gan_opt'] |= {'real_label_val': 1.0, 'fake_label_val': 0.0}
    torch.manual_seed(0)
    with mock.patch('basicsr.archs.vgg_arch.vgg.vgg19', side_effect=lambda pretrained: vgg19(weights=None)):
        return build_model(model_options(stock if changes is None else 'GANSRModel', train, **CASES[case]))


def build_redux(case: str, ours: Any) -> Any:
    """A model of traiNNer-redux in its bf16 and channels_last, with the networks, L1 and VGG of one of ours."""
    from traiNNer.losses.gan_loss import GANLoss
    from traiNNer.models import sr_model
    from traiNNer.utils.redux_options import DatasetOptions, LogOptions, PathOptions, ReduxOptions, TrainOptions

    adam = {'type': 'Adam', 'lr': 1e-4, 'betas': [0.9, 0.99]}
    opt = ReduxOptions(
        name='benchmark',
        scale=4,
        num_gpu=int(torch.cuda.is_available()),
        path=PathOptions(),
        network_g=CASES[case]['network_g'],
        network_d=CASES[case]['network_d'],
        is_train=True,
        dist=False,
        use_amp=True,
        amp_bf16=True,
        use_channels_last=True,
        datasets={'train': DatasetOptions(name='none', type='PairedImageDataset')},
        logger=LogOptions(print_freq=1000, save_checkpoint_freq=1000, use_tb_logger=False),
        train=TrainOptions(
            total_iter=1000,
            optim_g=adam,
            optim_d=dict(adam),
            ema_decay=0.999,
            scheduler={'type': 'MultiStepLR', 'milestones': [900], 'gamma': 0.5},
            losses=[{'type': 'ganloss', 'gan_type': 'vanilla', 'loss_weight': 5e-3}],
        ),
    )

    def network(section: dict) -> torch.nn.Module:
        source = ours.net_g if section['type'] == CASES[case]['network_g']['type'] else ours.net_d
        return copy.deepcopy(source)

    with (
        mock.patch.object(sr_model, 'build_network', network),
        mock.patch.object(torch.cuda, 'is_bf16_supported', return_value=True),
    ):
        model = sr_model.SRModel(opt)
    model.losses = {
        'l_g_pix': ours.cri_pix,
        'l_g_percep': _Perceptual(ours.cri_perceptual),
        'l_g_gan': next(loss for loss in model.losses.values() if isinstance(loss, GANLoss)),
    }
    return model


class _Perceptual:
    """Our perceptual loss as traiNNer-redux calls it."""

    loss_weight = 1.0

    def __init__(self, loss: Any):
        self.loss = loss

    def __call__(self, sr: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
        return self.loss(sr, gt)[0]


def redux_step(model: Any, batch: dict) -> None:
    model.feed_data(batch)
    model.optimize_parameters(1, 1, True)


def main(argv: list[str] | None = None) -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument('--case', nargs='+', choices=CASES, default=list(CASES))
    parser.add_argument('--objective', nargs='+', choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument('--compile', action='store_true', help='also with the networks compiled')
    parser.add_argument('--redux', type=Path, metavar='DIR', help='checkout of traiNNer-redux, for the objective srgan')
    args = parser.parse_args(argv)
    prepare(args)
    if args.redux:
        sys.path.insert(0, str(args.redux))
    batch = {
        'lq': torch.rand(args.batch, 3, GT_SIZE // 4, GT_SIZE // 4),
        'gt': torch.rand(args.batch, 3, GT_SIZE, GT_SIZE),
    }
    results = []
    print(f'{"case":8} {"objective":9} {"variant":22} ÷ BasicSR (quartiles)')
    for case in args.case:
        for objective in args.objective:
            steps = {'BasicSR': partial(one_step, build(case, objective, None), batch)}
            for name, changes in {**VARIANTS, **(COMPILED if args.compile else {})}.items():
                steps[name] = partial(one_step, build(case, objective, changes), batch)
            if args.redux and objective == 'srgan':
                redux = build_redux(case, build(case, objective, BF16))
                steps['traiNNer-redux, bf16'] = partial(redux_step, redux, batch)
            seconds = alternate(steps, args.rounds)
            for name in [name for name in steps if name != 'BasicSR']:
                measured = ratio(seconds[name], seconds['BasicSR'])
                results.append({'case': case, 'objective': objective, 'variant': name, **measured})
                print(f'{case:8} {objective:9} {name:22} {shown(measured)}', flush=True)
    if args.json:
        atomic_write_text(json.dumps(results, indent=1) + '\n', args.json)


if __name__ == '__main__':
    main()
