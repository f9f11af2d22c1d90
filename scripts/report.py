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

from ext_core.errors import UserError, exit_status
from ext_core.registration import register_all
from ext_core.report.experiment import Experiment, read_experiments
from ext_core.report.groups import groups
from ext_core.report.pictures import Limits, pictures, sources
from ext_core.saving.checkpoint import atomic_write_text


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'expected a number above 0, but got {text!r}')
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'expected 0 or more, but got {text!r}')
    return value


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('experiments', nargs='+', type=Path, metavar='FOLDER', help='experiments/NAME or results/NAME')
    parser.add_argument('--output', type=Path, default=Path('report.html'), help='the page, default: report.html')
    parser.add_argument('--plots', type=Path, metavar='FOLDER', help='write the curves as PNG files too')
    parser.add_argument('--title', help="the page's heading")
    parser.add_argument('--images', type=_count, default=8, help='images to compare at most, default: 8; 0 for none')
    parser.add_argument('--crop', type=_positive, default=192, help='side of their crops in pixels, default: 192')
    parser.add_argument(
        '--iterations', type=_positive, default=4, help='versions of an image from one training at most, default: 4'
    )
    parser.add_argument(
        '--megabytes', type=_positive, default=20, help='size of the page above which images are left out, default: 20'
    )
    return parser.parse_args(argv)


def report(args: argparse.Namespace) -> None:
    from ext_core.report.page import page
    from ext_core.report.summary import row

    if args.output.is_dir() or not args.output.parent.is_dir():
        raise UserError(f'--output {args.output}: expected a file in a folder that exists.')
    if args.plots and args.plots.exists() and not args.plots.is_dir():
        raise UserError(f'--plots {args.plots} is a file. Name a folder.')
    experiments = read_experiments(args.experiments)
    rows, curves = [row(experiment) for experiment in experiments], groups([entry.curves for entry in experiments])
    title, notes = args.title or ', '.join(entry.name for entry in experiments), notes_of(experiments)
    used = len(page(rows, curves, [], notes, title))
    limits = Limits(args.images, args.crop, args.iterations, args.megabytes * 1_000_000 - used)
    found, remarks = pictures(sources(experiments, args.iterations), limits) if args.images else ([], [])
    atomic_write_text(page(rows, curves, found, notes + remarks, title), args.output)
    for line in notes + remarks:
        print(f'note: {line}', file=sys.stderr)
    print(f'{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, {len(found)} images')
    if args.plots:
        from ext_core.report.plots import write_plots

        for path in write_plots(curves, [entry.name for entry in experiments], args.plots):
            print(path)


def notes_of(experiments: list[Experiment]) -> list[str]:
    """What is missing of each experiment."""
    return [f'{experiment.name}: {note}' for experiment in experiments for note in experiment.notes]


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')
    return exit_status(lambda: report(args))


if __name__ == '__main__':
    sys.exit(main())
