"""Turn folders of photographs into the sub-images and LMDBs that BasicSR's PairedImageDataset reads.

It never downloads. Sources are only read. LR images are made by MATLAB-style bicubic where none are given,
after a Gaussian blur with --blur. An interrupted run is continued by the same command: finished images are skipped, and
no half-written file is left behind.

What is done to unusual images: grey is repeated to three channels, alpha is dropped, 16-bit is reduced to 8-bit, and
odd sizes are cropped at the right and bottom to a multiple of the scale. The summary says how many.

Subfolders of --hr and --lr are not searched. The summary also says which files there were passed over.

Examples:
  python scripts/prepare_data.py demo
  python scripts/prepare_data.py --list
  python scripts/prepare_data.py --layout DIV2K --root datasets/DIV2K --scale 4 --lmdb
  python scripts/prepare_data.py --layout Set5 --root datasets/Set5
  python scripts/prepare_data.py --hr photos --output datasets/photos --scale 4 --sub-images 480 --step 240 --lmdb
  python scripts/prepare_data.py --hr sharp --lr soft --lr-name '{name}x4' --output datasets/pairs
  python scripts/prepare_data.py --layout DIV2K --root datasets/DIV2K --blur 1.6 --output datasets/DIV2K_blur --lmdb
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.arguments import whole
from ext_core.errors import UserError, exit_status
from ext_core.registration import register_all


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group('what to prepare (one of)')
    what.add_argument(
        'command', nargs='?', choices=['demo'], help='make datasets/demo from photographs of scikit-image'
    )
    what.add_argument('--list', action='store_true', help='list the known sets: publisher and layout')
    what.add_argument('--layout', metavar='NAME', help='a known set, for instance DIV2K; needs --root')
    what.add_argument('--hr', type=Path, metavar='DIR', help='a folder of HR images; needs --output')
    where = parser.add_argument_group('where')
    where.add_argument('--root', type=Path, metavar='DIR', help="the set's folder (--layout)")
    where.add_argument('--split', nargs='+', metavar='NAME', help='only these parts. Default: all that are there')
    where.add_argument('--lr', type=Path, metavar='DIR', help='LR images of --hr. Default: bicubic LR is made')
    where.add_argument(
        '--lr-name',
        default='{name}',
        metavar='TEMPLATE',
        help="LR name for the HR name {name}, without extension, for instance '{name}x4' or '{name}x{scale}'",
    )
    where.add_argument('--output', type=Path, metavar='DIR', help='default: datasets/NAME (--layout), . (demo)')
    how = parser.add_argument_group('how')
    how.add_argument('--scale', type=int, default=4, help='default: 4')
    how.add_argument(
        '--sub-images',
        type=whole(0),
        metavar='SIZE',
        help='cut training images into HR squares of this size; 0 keeps whole images. '
        'Default: 480 for DIV2K, Flickr2K and RealSR, else 0',
    )
    how.add_argument('--step', type=int, help='distance of neighbouring sub-images. Default: half of their size')
    how.add_argument(
        '--thresh',
        type=int,
        default=0,
        help='cut one more sub-image at the border if more than this many pixels are left. Default: 0',
    )
    how.add_argument(
        '--lr-at-hr-size',
        action='store_true',
        help='the given LR images have the size of HR (captured and aligned): reduce them by bicubic',
    )
    how.add_argument(
        '--blur',
        type=float,
        default=0.0,
        metavar='SIGMA',
        help='make LR from HR, whatever LR the set has: Gaussian blur with this standard deviation in HR pixels, then '
        'bicubic. Default: 0, no blur',
    )
    how.add_argument('--lmdb', action='store_true', help='also pack the images into LMDBs')
    how.add_argument('--jobs', type=whole(1), default=os.cpu_count() or 1, help='worker processes. Default: all cores')
    return parser


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse combinations that mean nothing.

    Raises:
        UserError: Naming the option and the remedy.
    """
    chosen = [bool(args.command), args.list, args.layout is not None, args.hr is not None]
    if sum(chosen) != 1:
        raise UserError('Give one of: demo, --list, --layout NAME --root DIR, --hr DIR --output DIR. See --help.')
    if args.layout is not None and args.root is None:
        raise UserError(f'--layout {args.layout} needs --root, the folder of the set; see --list.')
    if args.hr is not None and args.output is None:
        raise UserError('--hr needs --output, the folder to write to.')
    for option in ('hr', 'lr'):
        folder = getattr(args, option)
        if folder is not None and not folder.is_dir():
            raise UserError(f'--{option} {folder}: there is no such folder.')
    if args.lr is not None and args.hr is None:
        raise UserError('--lr needs --hr, the HR images that belong to it.')
    if args.blur and (args.lr is not None or args.lr_at_hr_size):
        raise UserError(f'--blur {args.blur:g} makes LR from HR: leave --lr and --lr-at-hr-size out.')
    if args.blur and args.layout is None and args.hr is None:
        raise UserError(f'--blur {args.blur:g} needs --layout or --hr, the images to blur.')
    if args.layout is None and (args.root or args.split):
        raise UserError('--root and --split belong to --layout NAME, a known set. Leave them out, or name it.')
    if args.lr is None and (args.lr_name != '{name}' or (args.lr_at_hr_size and args.layout is None)):
        raise UserError('--lr-name and --lr-at-hr-size are of given LR images: add --lr DIR, or leave them out.')
    if args.hr is not None and not args.sub_images and (args.step or args.thresh):
        raise UserError('--step and --thresh are of sub-images: add --sub-images SIZE, or leave them out.')
    if args.lr_name.count('{name}') != 1 or '/' in args.lr_name:
        raise UserError(f'--lr-name {args.lr_name}: must contain {{name}} once and no folder.')


def prepare_images(args: argparse.Namespace) -> None:
    """All parts of a known set that are there, or a folder of HR images, with or without LR."""
    from ext_data.preparation.layouts import Window, get_layout
    from ext_data.preparation.pair_images import Plan, output_folders
    from ext_data.preparation.pairs import collect_folders, collect_layout, passed_over, require_ascii
    from ext_data.preparation.pipeline import pack, prepare

    output, lr_at_hr_size = args.output, args.lr_at_hr_size
    blurred = f'blur{args.blur:g}' if args.blur else ''  # what the LR folder is called after
    parts: list = []  # name, kind of LR, whether it may be cut, how by default, pairs
    if args.layout:
        layout = get_layout(args.layout)
        if args.blur and layout.lr_kind == 'real':
            raise UserError(f'--blur {args.blur:g}: the point of {layout.name} is its captured LR. Leave --blur out.')
        found = collect_layout(args.root, layout, args.scale, args.split or (), without_lr=bool(args.blur))
        parts = [(s.name, blurred or layout.lr_kind, s.training, s.window, pairs) for s, pairs in found.items()]
        output = output or Path('datasets') / layout.name
        lr_at_hr_size = lr_at_hr_size or layout.lr_at_hr_size
    else:
        pairs = collect_folders(args.hr, args.lr, args.lr_name, args.scale)
        parts = [('', '' if args.lr else blurred or 'bicubic', True, None, pairs)]
    if args.lmdb:
        keys = ((pair.key, str(pair.hr)) for *_, pairs in parts for pair in pairs)
        require_ascii(keys, 'leave --lmdb out: folders take any name.')
    if args.sub_images and not any(training for _, _, training, _, _ in parts):
        raise UserError(f'--sub-images {args.sub_images}: only training images are cut, and none of these are.')
    for name, kind, training, default, pairs in parts:
        size = default.size if args.sub_images is None and default else (args.sub_images or 0)
        step = size // 2 if args.step is None else args.step
        window = Window(size, step, args.thresh) if size and training else None
        folders = output_folders(output, name, kind, args.scale, window)
        plan = Plan(args.scale, *folders, window, lr_at_hr_size, args.blur)
        prepared = prepare(pairs, plan, args.jobs, register_all)
        count = sum(len(record.pieces) for record in prepared.records)
        blur = f'Gaussian blur of {plan.blur:g} HR pixels and ' if plan.blur else ''
        made = f' (LR made by {blur}MATLAB-style bicubic)' if pairs[0].lr is None else ''
        print(f'{len(pairs)} pairs, {prepared.skipped} of them finished before; {count} images each in{made}')
        print(f'  {plan.hr_folder}\n  {plan.lr_folder}')
        for note, number in sorted(prepared.notes().items()):
            print(f'  {number} x {note}')
        for path in pack(prepared, plan) if args.lmdb else ():
            print(f'  {path}')
    for folder, template in ((args.hr, '{name}'), (args.lr, args.lr_name)):
        for line in passed_over(folder, template, args.scale) if folder else ():
            print(f'  passed over in {folder}: {line}')


def prepare(args: argparse.Namespace) -> None:
    check_arguments(args)
    register_all()
    if args.list:
        from ext_data.preparation.layouts import LAYOUTS

        print('\n\n'.join(layout.describe() for layout in LAYOUTS.values()))
    elif args.command == 'demo':
        from ext_data.preparation.demo import ensure_demo_data

        print(f'demo set: {ensure_demo_data(args.output or Path(), args.scale)}')
    else:
        prepare_images(args)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = build_parser().parse_args(argv)
    return exit_status(lambda: prepare(args), 'Interrupted. The same command continues where it stopped.')


if __name__ == '__main__':
    sys.exit(main())
