"""Measure networks, ONNX files and folders of images on test sets, beside bicubic and nearest interpolation.

Examples:
    python scripts/evaluate.py --set Set5=Set5/HR:Set5/LR Set14=Set14/HR:Set14/LR --output results/interpolation
    python scripts/evaluate.py --set Set5=Set5/HR:Set5/LR --output results/networks \\
        --method experiments/train_srresnet edsr=net_g.pth:options/test_esrgan.yml net.onnx theirs=their_images

A method is [NAME=]SOURCE. Sources are: an experiment; a checkpoint (.pth, .safetensors), with :OPTIONS.yml where it
does not tell its network; an option file (.yml) with path:pretrain_network_g; an .onnx file; a folder of images. A
method is measured on the sets of its scale. Repeat the command to continue a run that was stopped, or to add methods,
sets and metrics: what is done is kept in --output. docs/evaluation.md says more.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.arguments import named_folders, whole
from ext_core.errors import UserError, exit_status
from ext_core.registration import register_quietly

METRICS = ('psnr', 'ssim', 'niqe', 'lpips', 'pi')


def crop_of(text: str) -> tuple[int, tuple[int, int] | None]:
    """Size and corner of ``SIZE`` or ``X,Y,SIZE`` of the command line."""
    try:
        *corner, size = map(int, text.split(','))
        if size < 1 or len(corner) not in (0, 2) or min(corner, default=0) < 0:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected SIZE or X,Y,SIZE in pixels, but got {text!r}') from None
    return size, (corner[0], corner[1]) if corner else None


def rounds_of(text: str) -> int:
    """0, or 2 and more, of the command line."""
    if not text.isdigit() or int(text) == 1:
        raise argparse.ArgumentTypeError(f'expected 0, or 2 and more, but got {text!r}')
    return int(text)


def evaluate(args: argparse.Namespace, command: list[str]) -> None:
    import torch

    from ext_core.atomic import atomic_write_text
    from ext_core.use.benchmark import Benchmark, default_processes, metrics_of
    from ext_core.use.benchmark_results import Crop, Report, page, pieces_of, require_crop, write
    from ext_core.use.cost import costs
    from ext_core.use.crops import gallery
    from ext_core.use.methods import Bicubic, LiteratureBicubic, Nearest, Upscaler, read_set, require_names, upscaler_of

    processes, threads = default_processes()
    processes, threads = args.processes or processes, args.threads_per_process or threads
    # everything that a user gave is looked at before anything is measured
    torch.set_num_threads(threads)
    require_names([name for name, _ in args.sets], 'set')
    metrics, left_out = metrics_of(args.metrics, args.rgb)
    if not metrics:
        raise UserError('\n'.join(['no metric can be computed here.', *left_out.values()]))
    if args.literature and args.rgb:
        raise UserError('--literature is a figure of luminance. Leave out --rgb.')
    sets = [read_set(name, folders) for name, folders in args.sets]
    smallest = min(min(place.size) for test_set in sets for place in test_set.places)
    if args.border is not None and 2 * args.border >= smallest:
        raise UserError(f'--border must be at most {(smallest - 1) // 2}: the smallest image has a side of {smallest}.')
    crop = require_crop(Crop(*args.crop) if args.crop else None, sets)
    upscalers: list[Upscaler] = [Bicubic('bicubic'), Nearest('nearest')]
    if args.literature:
        upscalers.insert(1, LiteratureBicubic('bicubic_literature'))
    upscalers += [upscaler_of(text, sets) for text in args.methods]
    require_names([upscaler.name for upscaler in upscalers], 'method')
    for metric, reason in left_out.items():
        print(f'{metric} is left out. {reason}', file=sys.stderr)

    benchmark = Benchmark(sets, upscalers, metrics, args.output, args.border)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--output {args.output} cannot be made: {error}. Name a new folder.') from error
    benchmark.run(processes, threads)
    report = Report(benchmark, costs(benchmark, args.rounds), left_out)
    print(write(report, args.output, command))
    pieces = pieces_of(report, crop, args.pictures)
    atomic_write_text(page(report, pieces, args.output.resolve().name), args.output / 'results.html')
    names = ['results.html', 'results.md', 'results.csv', 'images.csv']
    if pieces:
        blocks = [(p.title, {f'{name}\n{p.captions[name]}': image for name, image in p.images.items()}) for p in pieces]
        gallery(blocks).savefig(args.output / 'results.png')
        names.append('results.png')
    print(', '.join(str(args.output / name) for name in names))
    if failed := benchmark.failures:
        raise UserError('\n'.join([f'{len(failed)} values are missing; repeat the command to try again.', *failed]))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--set', nargs='+', type=named_folders, required=True, metavar='NAME=GT:LQ', dest='sets')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    parser.add_argument('--method', nargs='+', default=[], metavar='[NAME=]SOURCE', dest='methods')
    parser.add_argument('--metrics', nargs='+', default=METRICS, metavar='NAME', help=' '.join(METRICS))
    parser.add_argument('--rgb', action='store_true', help='PSNR and SSIM on RGB instead of luminance')
    parser.add_argument('--border', type=whole(0), metavar='N', help='pixels left out at each side; default: the scale')
    parser.add_argument(
        '--literature', action='store_true', help='add the bicubic row of papers, see docs/evaluation.md'
    )
    parser.add_argument('--rounds', type=rounds_of, default=5, help='how often methods are timed; 0: not at all')
    parser.add_argument('--crop', type=crop_of, metavar='[X,Y,]SIZE', help='of the pictures, in px; default: 64')
    parser.add_argument('--pictures', type=whole(0), default=2, metavar='N', help='images of each set on the page')
    parser.add_argument(
        '--processes', type=whole(1), help='images at a time; default: one for each GPU, else for every two cores'
    )
    parser.add_argument(
        '--threads-per-process',
        type=whole(1),
        metavar='N',
        help='default: the cores, divided by the default of --processes',
    )
    args = parser.parse_args(argv)
    register_quietly()
    command = ['python', 'scripts/evaluate.py', *(sys.argv[1:] if argv is None else argv)]
    return exit_status(lambda: evaluate(args, command), 'stopped; repeat the command to continue')


if __name__ == '__main__':
    sys.exit(main())
