"""Time scripts/upscale.py against plain PyTorch: the same network, called on tensors that are ready, image by image.

Examples:
    python studies/benchmark_upscale.py -m experiments/train_srresnet/models/net_g_latest.pth --json upscale.json
    python studies/benchmark_upscale.py --side 256 --rounds 20

--batch is the number of images of a folder. Variants alternate; the figures are medians over rounds of the ratio to
plain PyTorch within a round, with the quartiles. 'files' reads and writes PNG files, too. Without -m the network is
MSRResNet of 16 blocks and 64 features at scale 4, untrained, which costs the same time.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image

from ext_core.atomic import atomic_save, atomic_write_text
from ext_core.errors import UserError, exit_status
from ext_core.use.cost import alternate, ratio
from studies.side_by_side import benchmark_parser, prepare, shown

PLAIN = 'plain PyTorch'
NETWORK = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16, 'upscale': 4}


def photographs(number: int, side: int, folder: Path) -> list[Path]:
    """Image files: noise over gradients, which is as hard to compress as a photograph."""
    random = np.random.default_rng(0)
    rows, columns = np.indices((side, side))
    files = []
    for index in range(number):
        image = (rows + columns * (index + 1))[..., None] % 256 * 0.7 + random.normal(40, 6, (side, side, 3))
        files.append(folder / f'{index}.png')
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(files[-1])
    return files


def variants(model: Path, files: list[Path], output: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    from ext_core.networks.files import open_generator
    from ext_core.use.batch import enlarge_files, failures
    from ext_core.use.enlarge import Enlarger
    from ext_core.use.image_names import plan
    from ext_core.use.network import open_network
    from ext_core.use.photographs import read_photograph

    full, half = (Enlarger(open_network(model, half=half), tile=0) for half in (False, True))
    side = read_photograph(files[0]).pixels.shape[0]
    tiled = Enlarger(full.network, tile=-(-side // 2))
    bare = open_generator(model).net.to(full.network.device)
    images = [read_photograph(file) for file in files]
    tensors = [torch.from_numpy(image.pixels.copy()).permute(2, 0, 1)[None].float() / 255 for image in images]
    tensors = [tensor.contiguous().to(full.network.device) for tensor in tensors]
    jobs, _ = plan([str(file) for file in files], output)

    @torch.inference_mode()
    def plain() -> None:
        for tensor in tensors:
            bare(tensor)

    def through(enlarger: Enlarger) -> Callable[[], object]:
        return lambda: [enlarger(image, False) for image in images]

    return {
        PLAIN: plain,
        'upscale': through(full),
        'upscale, files': lambda: failures(enlarge_files(jobs, full, overwrite=True)),
        'upscale, four tiles': through(tiled),
        'upscale --half': through(half),
    }


def measure(model: Path | None, number: int, side: int, rounds: int) -> dict[str, Any]:
    """Ratios to plain PyTorch, and seconds for each megapixel of the results."""
    from basicsr.archs import build_network

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if model is None:
            model = folder / 'net_g.pth'
            atomic_save({'params': build_network(dict(NETWORK)).state_dict()}, model)
        files = photographs(number, side, folder)
        timed = variants(model, files, folder / 'results')
        seconds = alternate(timed, rounds)
        with Image.open(folder / 'results' / '0.png') as result:
            width, height = result.size
    megapixels = number * height * width / 1e6
    return {
        'ratios': {name: ratio(values, seconds[PLAIN]) for name, values in seconds.items()},
        'seconds_per_megapixel': {name: statistics.median(values) / megapixels for name, values in seconds.items()},
    }


def main(argv: list[str] | None = None) -> int:
    parser = benchmark_parser(__doc__)
    parser.add_argument('-m', '--model', type=Path, metavar='FILE', help='.pth or .safetensors file, or an experiment')
    parser.add_argument('--side', type=int, default=128, metavar='N', help='of the images in pixels, 64 or more')
    args = parser.parse_args(argv)

    def job() -> None:
        if args.batch < 1 or args.side < 64 or args.rounds < 2:
            raise UserError('--batch must be at least 1, --side 64, --rounds 2.')
        if args.model and args.model.suffix.lower() == '.onnx':
            raise UserError(f'{args.model}: an ONNX file is not run by PyTorch. Name the weights that it was made of.')
        prepare(args)
        results = measure(args.model, args.batch, args.side, args.rounds)
        print(f'{"":22} {"÷ " + PLAIN + " (quartiles)":32} s / megapixel of result')
        for name, found in results['ratios'].items():
            print(f'{name:22} {shown(found):32} {results["seconds_per_megapixel"][name]:.3f}')
        if args.json:
            record = vars(args) | {'json': None, 'model': args.model and args.model.name}
            atomic_write_text(json.dumps(record | results, indent=1) + '\n', args.json)

    return exit_status(job)


if __name__ == '__main__':
    raise SystemExit(main())
