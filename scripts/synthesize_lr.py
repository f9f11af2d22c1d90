"""Make the low-resolution half of training pairs with a trained degradation network (two-stage domain adaptation).

The LR images go into an LMDB with the keys of the HR LMDB, into a folder, or both; beside each stands NAME.json, which
says from which weights and options they come. They are clamped and rounded to 8 bit. Large images are taken in tiles;
the result does not depend on them. An interrupted run is continued by the same command: finished images are kept, and
no half-written LMDB is left behind. Complete outputs are made anew only if the weights or the HR images have changed.

LR images fit HR images whose sizes are multiples of the scale. Others are refused, unless --output-hr writes them cut
to size, too.

Examples:
  python scripts/synthesize_lr.py --experiment experiments/train_da_stage1 --hr datasets/DIV2K/train_HR_x4_sub.lmdb \\
      --output datasets/DIV2K/train_LR_synthesized_x4_sub.lmdb
  torchrun --nproc_per_node=8 scripts/synthesize_lr.py --experiment experiments/train_da_stage1 --hr photos \\
      --output datasets/photos/LR.lmdb --output-hr datasets/photos/HR.lmdb
  python scripts/synthesize_lr.py --opt stage1.yml --weights net_g_40000.pth --hr sharp --output-folder soft
"""

import argparse
import contextlib
import io
import os
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.errors import UserError, exit_status
from ext_core.registration import register_all


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    network = parser.add_argument_group('the degradation network')
    network.add_argument('--experiment', type=Path, metavar='DIR', help='a finished training of stage 1')
    network.add_argument('--opt', type=Path, metavar='FILE', help='its option file; with --weights, instead')
    network.add_argument('--weights', type=Path, metavar='FILE', help='one of its checkpoints, models/net_g_*.pth')
    images = parser.add_argument_group('images')
    images.add_argument('--hr', type=Path, required=True, metavar='PLACE', help='folder of HR images, or an LMDB')
    images.add_argument('--output', type=Path, metavar='LMDB', help='LR images as an LMDB, NAME.lmdb')
    images.add_argument('--output-folder', type=Path, metavar='DIR', help='LR images as PNG files')
    images.add_argument(
        '--output-hr', type=Path, metavar='LMDB', help='HR images, cut to a multiple of the scale, with the same keys'
    )
    how = parser.add_argument_group('how')
    how.add_argument('--tile', type=int, default=128, help='side in LR pixels, 0 for whole images. Default: 128')
    how.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default: auto')
    return parser


def run(args: argparse.Namespace) -> None:
    import torch
    import torch.distributed as dist

    from ext_core.networks.files import open_generator
    from ext_core.networks.weight_files import experiment_files
    from ext_core.use.synthesis import Outputs, synthesize

    if args.tile < 0:
        raise UserError(f'--tile {args.tile}: must be a size in LR pixels, or 0 for whole images.')
    outputs = Outputs(args.output, args.output_folder, args.output_hr)
    pair = (args.opt, args.weights)
    if bool(args.experiment) == any(pair) or (any(pair) and not all(pair)):
        raise UserError('Give either --experiment DIR, or --opt FILE with --weights FILE.')
    option_file, weights = experiment_files(args.experiment) if args.experiment else pair
    use_cuda = args.device == 'cuda' or (args.device == 'auto' and torch.cuda.is_available())
    if use_cuda and not torch.cuda.is_available():
        raise UserError('--device cuda: PyTorch finds no GPU. Use --device cpu.')
    gpus = torch.cuda.device_count() or 1
    device = f'cuda:{int(os.environ.get("LOCAL_RANK", "0")) % gpus}' if use_cuda else 'cpu'
    try:
        if int(os.environ.get('WORLD_SIZE', '1')) > 1:
            # only lists of names are exchanged, which gloo does on any device
            dist.init_process_group('gloo', timeout=timedelta(hours=12))
        degrader = open_generator(weights, options=option_file)
        degrader.net.to(device)
        synthesize(degrader, args.hr, outputs, args.tile)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = build_parser().parse_args(argv)
    register_all()
    quiet = os.environ.get('RANK', '0') != '0'  # what the first process says, too
    with contextlib.redirect_stderr(io.StringIO()) if quiet else contextlib.nullcontext():
        return exit_status(lambda: run(args), 'Interrupted. The same command continues where it stopped.')


if __name__ == '__main__':
    sys.exit(main())
