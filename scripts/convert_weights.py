"""Convert a generator between .pth and .safetensors, to half precision, and from the layouts of ESRGAN to BasicSR's.

Examples:
    python scripts/convert_weights.py experiments/train_esrgan esrgan.safetensors
    python scripts/convert_weights.py RRDB_ESRGAN_x4_old_arch.pth esrgan_for_basicsr.pth
    python scripts/convert_weights.py net_g_latest.pth small.safetensors --half --options options/test_edsr.yml
    python scripts/convert_weights.py experiments/train_esrgan softer.pth --mix experiments/train_rrdb_psnr 0.2

The input is a .pth or .safetensors file, or the folder of an experiment. A .pth output holds the weights under
'params', where BasicSR finds them. A .safetensors output also tells the network, its scale and how it was trained; it
names no paths. docs/export.md says which tools open what.

--mix is ESRGAN's network interpolation: between a GAN and the network that it started from, artefacts and detail fade
together.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.arguments import add_conversion
from ext_core.errors import UserError, exit_status
from ext_core.registration import register_quietly


def convert(args: argparse.Namespace) -> None:
    from ext_core.atomic import atomic_save
    from ext_core.networks.export import metadata_of, opened_input, save_safetensors, weights_of
    from ext_core.networks.files import open_generator
    from ext_models.weights import weights_problem

    opened = opened_input(args, ('.pth', '.safetensors'))
    if args.mix:
        name, number = args.mix
        try:
            share = float(number)
        except ValueError:
            share = -1
        if not 0 <= share <= 1:
            raise UserError(f'--mix: the share of {name} must be a number from 0 to 1, but is {number}.')
        other = open_generator(Path(name), options=args.options, scale=args.scale, key=args.key)
        theirs = other.net.state_dict()
        problem = weights_problem(
            opened.net, theirs, str(other.path), 'g', '--mix: mix a network with the one it started from.'
        )
        if problem:
            raise UserError(problem)
        for key, value in opened.net.state_dict().items():
            if value.is_floating_point():
                value.lerp_(theirs[key], share)
    weights = weights_of(opened, args.half)
    foreign = opened.source == 'spandrel'
    if args.output.suffix.lower() == '.pth':
        atomic_save({'params': weights}, args.output)  # where BasicSR looks first
    else:
        metadata = None if foreign else metadata_of(opened)
        if metadata and args.mix:  # what was measured was another network
            metadata = dataclasses.replace(metadata, iteration=None, metrics={})
        if metadata and args.note:
            metadata.extra['note'] = args.note
        save_safetensors(weights, metadata, args.output)
    whose = f"'{opened.key}' of " if opened.key else ''
    kind = f'{opened.type}, scale {opened.scale}, {len(weights)} tensors in {"float16" if args.half else "float32"}'
    print(f'{whose}{opened.path} -> {args.output}: {kind}')
    if foreign:
        print('Only spandrel knew what network this is: the weights have its names, and there is no metadata. For a')
        print('network of BasicSR name an option file with its network_g and scale: --options.')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_conversion(parser, '.pth or .safetensors')
    parser.add_argument('--half', action='store_true', help='write float16')
    parser.add_argument('--mix', nargs=2, metavar=('OTHER', 'SHARE'), help='that share of the weights of OTHER instead')
    parser.add_argument('--note', metavar='TEXT', help='what it is, and what may be done with it; for .safetensors')
    args = parser.parse_args(argv)
    register_quietly()
    return exit_status(lambda: convert(args))


if __name__ == '__main__':
    sys.exit(main())
