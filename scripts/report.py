"""Put one or several trainings onto one HTML page: curves, figures, options that differ, and pictures side by side.

Examples:
    python scripts/report.py experiments/train_esrgan experiments/train_mask_esrgan --output report.html
    python scripts/report.py experiments/train_esrgan_* results/test_esrgan --output report.html --plots plots

An experiment is a folder that training left in experiments/, finished, stopped or running. Its curves are read from
tb_logger/ of the same project, and from its log. A folder of results/ adds its pictures. The page is one file, loads
nothing from the network and opens from the disk; docs/report.md says what is on it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.arguments import whole
from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError, exit_status
from ext_core.registration import register_quietly


def report(args: argparse.Namespace) -> None:
    from ext_core.use.experiments import plots_of, read_experiments
    from ext_core.use.report_page import page, write_plots
    from ext_core.use.report_pictures import pictures, sources

    if args.output.is_dir() or not args.output.parent.is_dir():
        raise UserError(f'--output {args.output}: expected a file in a folder that exists.')
    if args.plots and args.plots.exists() and not args.plots.is_dir():
        raise UserError(f'--plots {args.plots} is a file. Name a folder.')
    experiments = read_experiments(args.experiments)
    names, curves = [entry.name for entry in experiments], plots_of([entry.curves for entry in experiments])
    title = args.title or ', '.join(names)
    notes = [f'{entry.name}: {note}' for entry in experiments for note in entry.notes]
    used = len(page(experiments, curves, [], notes, title))
    versions = sources(experiments, args.iterations) if args.images else {}
    found, remarks = pictures(versions, args.images, args.crop, args.megabytes * 1_000_000 - used)
    atomic_write_text(page(experiments, curves, found, notes + remarks, title), args.output)
    for line in notes + remarks:
        print(f'note: {line}', file=sys.stderr)
    print(f'{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, {len(found)} images')
    if args.plots:
        print(*write_plots(curves, names, args.plots), sep='\n')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('experiments', nargs='+', type=Path, metavar='FOLDER', help='experiments/NAME or results/NAME')
    parser.add_argument('--output', type=Path, default=Path('report.html'), help='the page, default: report.html')
    parser.add_argument('--plots', type=Path, metavar='FOLDER', help='write the curves as PNG files too')
    parser.add_argument('--title', help="the page's heading")
    parser.add_argument('--images', type=whole(0), default=8, help='images to compare at most, default: 8; 0 for none')
    parser.add_argument('--crop', type=whole(1), default=192, help='side of their crops in pixels, default: 192')
    parser.add_argument(
        '--iterations',
        type=whole(1),
        default=4,
        help='versions of an image from one training at most, default: 4',
    )
    parser.add_argument(
        '--megabytes',
        type=whole(1),
        default=20,
        help='size of the page above which images are left out, default: 20',
    )
    args = parser.parse_args(argv)
    register_quietly()
    return exit_status(lambda: report(args))


if __name__ == '__main__':
    sys.exit(main())
