"""Enlarge photographs with a trained network: files, folders and patterns.

Examples:
    python scripts/upscale.py -i photo.jpg
    python scripts/upscale.py -m photo_x2_psnr -i folder/ -o enlarged
    python scripts/upscale.py -m experiments/train_srresnet/models/net_g_latest.pth -i photo.jpg -o enlarged
    python scripts/upscale.py -m net_g.safetensors -i folder/ 'more/*.png' --recursive --suffix _x4 -o enlarged
    python scripts/upscale.py -m net.onnx -i folder/ --ext webp --quality 90 -o enlarged
    python scripts/upscale.py -m weights.pth -opt options/train_esrgan.yml -i photo.png --self-ensemble -o enlarged

The network is one that comes with this project (--list-models), a .pth, .safetensors or .onnx file, or the folder of an
experiment; what it is shows in the file, in the option file of its experiment, or in -opt. Transparency, grey, 16 bits,
colour profile and EXIF are kept. Images whose results are there are left out, so that the same command continues a run
that was stopped. docs/upscale.md says more.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.arguments import require_json, whole
from ext_core.atomic import atomic_write_text
from ext_core.box import DEFAULT, generators
from ext_core.errors import UserError, exit_status
from ext_core.project import file_of
from ext_core.registration import import_modules, register_quietly


def tile_of(text: str) -> int | None:
    """'auto', or a size in pixels, of the command line."""
    if text == 'auto':
        return None
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f'expected auto or a number of pixels, but got {text!r}')
    return int(text)


def outscale_of(text: str) -> float:
    """A factor of the command line."""
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= 64:
        raise argparse.ArgumentTypeError(f'expected a factor above 0 and up to 64, but got {text!r}')
    return factor


class Models(argparse.Action):
    """Prints the generators of the box, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *given: object) -> None:
        from safetensors import safe_open

        from ext_core.networks.metadata import PREFIX

        for name, path in generators().items():
            with safe_open(path, 'pt') as file:
                print(f'{name:16} {file.metadata()[f"{PREFIX}note"]}')
        parser.exit()


def upscale(args: argparse.Namespace) -> None:
    from ext_core.use.batch import enlarge_files, failures, summary
    from ext_core.use.enlarge import Enlarger
    from ext_core.use.image_names import plan
    from ext_core.use.network import open_network

    import_modules(args.imports, '--import')
    if Path(args.suffix).name != args.suffix:
        raise UserError(f'--suffix {args.suffix} becomes part of file names, and cannot hold a path.')
    network = open_network(args.model or Path(DEFAULT), args.opt, args.scale, args.device, args.half, args.key)
    if args.output is None:
        args.output = Path()
        args.suffix = args.suffix or f'_x{args.outscale or network.scale:g}'
        args.ext = 'png' if args.ext == 'auto' else args.ext
    jobs, left_out = plan(args.input, args.output, args.suffix, args.ext, args.recursive)
    require_json(args.json, [job.source for job in jobs])
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'-o {args.output} cannot be made: {error.strerror}. Name another folder.') from error
    if network.doubt:
        print(network.doubt, 'repeat with -opt.')
    print(f'{args.model or DEFAULT}: {network.name} on {network.device.type}, {len(jobs)} images')
    enlarger = Enlarger(network, args.tile, args.overlap, args.self_ensemble, args.outscale, args.alpha)
    outcomes = enlarge_files(jobs, enlarger, args.quality, args.overwrite, args.jobs)
    print(summary(outcomes, left_out))
    if args.json:
        record = {'network': network.name, 'scale': network.scale, 'device': network.device.type}
        images = [asdict(outcome) for outcome in outcomes]
        atomic_write_text(json.dumps(record | {'images': images}, indent=1) + '\n', args.json)
    failures(outcomes)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '-m', '--model', type=Path, metavar='FILE', help=f'file, experiment, or name of the network; default: {DEFAULT}'
    )
    parser.add_argument('--list-models', action=Models, nargs=0, help='name the networks that come with this project')
    parser.add_argument('-i', '--input', nargs='+', required=True, metavar='PLACE', help='files, folders, patterns')
    parser.add_argument(
        '-o', '--output', type=Path, metavar='DIR', help='default: the present folder, as NAME_x4.png (the scale)'
    )
    parser.add_argument('--recursive', action='store_true', help='folders of folders too; their structure is kept')
    network = parser.add_argument_group('network')
    network.add_argument('-opt', type=file_of, metavar='YML', help='option file of the network')
    network.add_argument(
        '--import',
        dest='imports',
        nargs='+',
        action='extend',
        default=[],
        metavar='MODULE',
        help='import modules first, which register networks of your own',
    )
    network.add_argument('--key', default='params_ema', help='of the weights in its file; default: params_ema')
    network.add_argument('--scale', type=int, metavar='N', help='of the network, where its file does not show it')
    network.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default: auto')
    network.add_argument('--half', action='store_true', help='half precision: float16 on a GPU, bfloat16 on a CPU')
    network.add_argument(
        '--self-ensemble', action='store_true', help='mean over 8 rotations and reflections: 8 times as long'
    )
    network.add_argument('--tile', type=tile_of, metavar='N', help='px of input, 0: whole images. Default: auto')
    network.add_argument(
        '--overlap', type=tile_of, metavar='N', help='px of input around a tile. Default: auto, which is up to 32'
    )
    result = parser.add_argument_group('results')
    result.add_argument('--outscale', type=outscale_of, metavar='X', help="size of the results; default: the network's")
    result.add_argument(
        '--alpha',
        choices=('network', 'bicubic'),
        default='network',
        help='what enlarges transparency; default: network',
    )
    result.add_argument('--suffix', default='', metavar='TEXT', help='behind the names of the results')
    result.add_argument(
        '--ext', choices=('auto', 'png', 'jpg', 'webp'), default='auto', help='format; default: that of each image'
    )
    result.add_argument('--quality', type=whole(1, 100), default=95, metavar='N', help='of JPEG and WebP; default: 95')
    result.add_argument('--overwrite', action='store_true', help='make results again that are there')
    result.add_argument('--jobs', type=whole(0, 64), default=2, metavar='N', help='threads that read; as many write')
    result.add_argument('--json', type=Path, metavar='FILE', help='write times and sizes there')
    args = parser.parse_args(argv)
    register_quietly()
    stopped = 'Stopped. Finished results are complete; the same command makes the others.'
    return exit_status(lambda: upscale(args), stopped)


if __name__ == '__main__':
    sys.exit(main())
