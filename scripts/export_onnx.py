"""Export a generator as an ONNX model for images of any size, and compare it with PyTorch on photographs.

Examples:
    python scripts/export_onnx.py experiments/train_esrgan esrgan.onnx
    python scripts/export_onnx.py edsr.safetensors edsr_half.onnx --half --images ../photographs/*.png

The model takes `input`, float32 RGB in [0, 1] of the shape (n, 3, height, width) with n, height and width free, and
gives `output`. With --half it computes in float16, and still takes and gives float32. onnxruntime runs it on each image
and must agree with PyTorch in float32 up to --tolerance; otherwise there is no file, and the status is 1.
docs/export.md says more.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.arguments import add_conversion
from ext_core.errors import UserError, exit_status
from ext_core.registration import register_quietly

OPSETS = range(13, 21)
TOLERANCES = {False: 1e-4, True: 0.01}  # of float32 and float16; one of 256 grey levels is 0.004
REGIONS = {'astronaut': (0, 160, 96, 132), 'chelsea': (60, 96, 60, 84), 'coffee': (100, 204, 120, 48)}  # y, x, h, w


def export(args: argparse.Namespace) -> None:
    from ext_core.atomic import atomic_write_bytes
    from ext_core.networks import onnx_export
    from ext_core.networks.export import metadata_of, opened_input
    from ext_core.use.evaluation import read

    opened = opened_input(args, ('.onnx',))
    tolerance = TOLERANCES[args.half] if args.tolerance is None else args.tolerance
    if args.images:
        images = [(str(path), read(path)[..., ::-1] / 255) for path in args.images]  # RGB in [0, 1]
    else:  # parts of photographs that scikit-image carries
        try:
            from skimage import data
        except ImportError as error:
            raise UserError('There are no photographs. Give --images, or: pip install scikit-image') from error
        images = [(name, getattr(data, name)()[y : y + h, x : x + w] / 255) for name, (y, x, h, w) in REGIONS.items()]
    metadata = None if opened.source == 'spandrel' else metadata_of(opened)
    model = onnx_export.export(opened, args.opset, args.half, metadata)
    found = onnx_export.differences(opened, model, images)
    for one in found:
        print(f'{one.name}, {one.size[0]} x {one.size[1]}: largest difference {one.largest:.1e}')
    worst = max(one.largest for one in found)
    if not worst <= tolerance:  # NaN is refused too
        raise UserError(
            f'onnxruntime and PyTorch differ by {worst:.1e}, more than {tolerance:g}: {args.output} is not written. '
            'Try another --opset' + (', or leave out --half.' if args.half else ', or raise --tolerance.')
        )
    atomic_write_bytes(model, args.output)
    sizes = 'any size' if opened.multiple == 1 else f'sides that are multiples of {opened.multiple}'
    print(
        f'{args.output}: {opened.type}, scale {opened.scale}, opset {args.opset}, {len(model) / 2**20:.1f} MiB; takes '
        f'images of {sizes}'
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_conversion(parser, '.onnx')
    parser.add_argument('--half', action='store_true', help='weights and computation in float16')
    parser.add_argument('--opset', type=int, choices=OPSETS, default=17, help='of the operators; default: 17')
    parser.add_argument('--images', nargs='+', type=Path, metavar='FILE', help='default: parts of three photographs')
    parser.add_argument('--tolerance', type=float, metavar='X', help='default: 1e-4, with --half 0.01')
    args = parser.parse_args(argv)
    register_quietly()
    return exit_status(lambda: export(args))


if __name__ == '__main__':
    sys.exit(main())
