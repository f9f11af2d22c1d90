"""What the discriminator of a trained energy GAN says: a table of energies, and a picture of where they sit.

Examples:
    python studies/energy_maps.py --experiment experiments/train_vgg_srgan --output energy.png
    python studies/energy_maps.py --experiment experiments/train_vgg_srgan --set Set5=Set5/HR:Set5/LR \\
        Set14=Set14/HR:Set14/LR --crop 128 --json energy.json

A generator follows the energy downhill, so what has less energy than a real image is what it is taught to make. Rows:
    real                 the true images
    generated            those of the experiment's generator, with EMA weights where it has them
    bicubic              the LR images, enlarged
    bicubic x2           the true images, halved and enlarged again
    real + noise         white noise, standard deviation 5 grey levels
    bicubic + noise      8 grey levels
    over-sharpened       true images plus 1.5 times their difference from a Gaussian blur (sigma 1 px)
    JPEG                 quality 10
    checkerboard         6 grey levels up and down, from pixel to pixel
All are rounded to 8 bits, as files are. Columns:
    energy       mean over the images of U, the mean squared error of the autoencoder (images in [-1, 1])
    above real   share of the images that have more energy than their own true image; 1.00 is a perfect critic, 0.50 a
                 blind one, less an inverted one, which rewards this error
An image is whole, its middle cut to multiples of 16 px; with --crop its middle square. The picture shows real,
generated and bicubic images, their energies in each place on one scale a row, and the reconstruction of the real image.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from torch import nn

from ext_core.arguments import named_folders
from ext_core.atomic import atomic_write_text
from ext_core.errors import UserError, exit_status
from ext_core.networks.files import GeneratorFile
from ext_core.networks.weight_files import load_checkpoint
from ext_core.registration import register_quietly
from ext_core.use import evaluation
from ext_core.use.evaluation import (
    Folders,
    image_pairs,
    load_experiment,
    read,
    tensor_of,
    upscale,
    validation_sets,
)
from ext_models.weights import select_weights, weights_problem

MULTIPLE = 16  # of the sides of images that VGGUAE takes
COLUMNS = ('real', 'generated', 'bicubic')
NOISE, BICUBIC_NOISE = 5, 8  # standard deviations in grey levels
SHARPEN_SIGMA, SHARPEN_AMOUNT = 1.0, 1.5
JPEG_QUALITY = 10
CHECKERBOARD = 6  # grey levels


@dataclass
class Judged:
    """An image, its energy U, and the energy in each place, (h, w)."""

    image: np.ndarray
    energy: float
    energy_map: np.ndarray


@dataclass
class Drawn:
    """A row of the picture: the images by their names, and AE(real)."""

    judged: dict[str, Judged]
    reconstruction: np.ndarray


# ---------------------------------------------------------------------- the discriminator
def load_discriminator(folder: Path, opt: dict) -> nn.Module:
    """The energy network of a finished experiment.

    Raises:
        UserError: If the experiment is of another kind, its discriminator was not kept, or the weights do not fit.
    """
    from basicsr.archs import build_network
    from basicsr.utils.registry import MODEL_REGISTRY

    objective = (opt['train'].get('gan_opt') or {}).get('type')
    if objective != 'EnergyGANLoss' or not opt.get('network_d'):
        raise UserError(
            f'{folder} is no energy GAN: its train:gan_opt is {objective or "absent"}. Name an experiment of '
            'EnergyGANModel, such as that of options/train_vgg_srgan.yml.'
        )
    views = [key for key in MODEL_REGISTRY.get('GANSRModel').VIEW_KEYS if opt['train'].get(key)]
    if views:
        raise UserError(
            f'{folder}: the discriminator saw images through train:{views[0]}, so its energy of the images as they '
            'are means nothing. Name an experiment without it.'
        )
    weights = folder / 'models' / 'net_d_latest.pth'
    if not weights.is_file():
        raise UserError(f'{folder} is not a finished experiment: models/net_d_latest.pth is missing. Train it first.')
    net = build_network(opt['network_d'])
    if not hasattr(net, 'reconstruct'):
        raise UserError(f"{folder}: network_d:type '{opt['network_d']['type']}' is no autoencoder. Use VGGUAE.")
    _, saved = select_weights(load_checkpoint(weights), 'params', str(weights))
    problem = weights_problem(net, saved, str(weights), 'd')
    if problem:
        raise UserError(problem)
    net.load_state_dict(saved)
    return net.eval()


@torch.inference_mode()
def judge(net: nn.Module, image: np.ndarray) -> Judged:
    """The energy of a uint8 BGR image (h, w, 3), h and w multiples of 16."""
    errors = net(tensor_of(image).to(next(net.parameters()).device))[
        0
    ]  # with energy_space: feature of another size than the image
    return Judged(image, errors.mean().item(), errors.mean(dim=0).cpu().numpy())


@torch.inference_mode()
def reconstruct(net: Any, image: np.ndarray) -> np.ndarray:
    """AE(image), of the same kind."""
    from basicsr.utils import tensor2img

    return tensor2img([net.reconstruct(tensor_of(image).to(next(net.parameters()).device))])


# ---------------------------------------------------------------------- images
def eight_bits(image: np.ndarray) -> np.ndarray:
    return image.round().clip(0, 255).astype(np.uint8)


def renditions(real: np.ndarray, generated: np.ndarray, bicubic: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """The table's rows of one image; ``number`` is that of the image, for its noise, the same in every call."""
    from basicsr.utils.matlab_functions import imresize

    random, sharp = np.random.default_rng((0, number)), real.astype(np.float32)
    halved = eight_bits(imresize(sharp / 255, 0.5) * 255)
    _, compressed = cv2.imencode('.jpg', real, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    sign = np.where(np.indices(real.shape[:2]).sum(axis=0) % 2, -1, 1)
    return {
        'real': real,
        'generated': generated,
        'bicubic': bicubic,
        'bicubic x2': evaluation.bicubic(halved, 2),
        f'real + noise {NOISE}': eight_bits(real + random.normal(0, NOISE, real.shape)),
        f'bicubic + noise {BICUBIC_NOISE}': eight_bits(bicubic + random.normal(0, BICUBIC_NOISE, bicubic.shape)),
        'over-sharpened': eight_bits(sharp + SHARPEN_AMOUNT * (sharp - cv2.GaussianBlur(sharp, (0, 0), SHARPEN_SIGMA))),
        f'JPEG {JPEG_QUALITY}': np.asarray(cv2.imdecode(compressed, cv2.IMREAD_COLOR)),
        f'checkerboard {CHECKERBOARD}': eight_bits(real + CHECKERBOARD * sign[..., None]),
    }


def window(size: tuple[int, int], crop: int | None, name: str) -> tuple[slice, slice]:
    """Rows and columns of the middle of an image of (height, width): a square, or all that are multiples of 16."""
    sides = [crop or side // MULTIPLE * MULTIPLE for side in size]
    if min(sides) < MULTIPLE or sides[0] > size[0] or sides[1] > size[1]:
        raise UserError(
            f'{name}: {size[1]} x {size[0]} px (width x height) are less than the {crop or MULTIPLE} px that are '
            'needed. Give a smaller --crop, or leave the image out.'
        )
    tops = [(side - kept) // 2 for side, kept in zip(size, sides, strict=True)]
    return slice(tops[0], tops[0] + sides[0]), slice(tops[1], tops[1] + sides[1])


def load_images(
    opened: GeneratorFile, low_path: Path, gt_path: Path, crop: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real, generated and bicubic image, uint8 BGR, the same part of each."""
    low, gt = read(low_path), read(gt_path)
    enlarged = [side * opened.scale for side in low.shape[:2]]
    if any(abs(side - large) >= opened.scale for side, large in zip(gt.shape[:2], enlarged, strict=True)):
        raise UserError(
            f'{gt_path} is not {opened.scale} times as large as {low_path}. The experiment has scale {opened.scale}: '
            'give LR images of that scale.'
        )
    rows, columns = window((min(len(gt), enlarged[0]), min(gt.shape[1], enlarged[1])), crop, str(gt_path))
    images = (gt, upscale(opened.net, low), evaluation.bicubic(low, opened.scale))
    real, generated, bicubic = (np.ascontiguousarray(image[rows, columns]) for image in images)
    return real, generated, bicubic


# ---------------------------------------------------------------------- figures
def measure(
    net: nn.Module, opened: GeneratorFile, folders: Folders, crop: int | None, drawn: int
) -> tuple[dict[str, dict[str, float]], list[Drawn]]:
    """Energies of a set, row of the table, then file name; and its first ``drawn`` images, to be drawn."""
    energies: dict[str, dict[str, float]] = {}
    shown: list[Drawn] = []
    for number, (low_path, gt_path) in enumerate(image_pairs([folders])):
        rows = renditions(*load_images(opened, low_path, gt_path, crop), number)
        judged = {row: judge(net, image) for row, image in rows.items()}
        for row, found in judged.items():
            energies.setdefault(row, {})[gt_path.name] = found.energy
        if number < drawn:
            shown.append(Drawn({name: judged[name] for name in COLUMNS}, reconstruct(net, rows['real'])))
    return energies, shown


def summary(energies: dict[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    """The table's columns from every image's energies, which stay beside them."""
    real = energies['real']
    results = {}
    for row, values in energies.items():
        above = None if row == 'real' else float(np.mean([value > real[name] for name, value in values.items()]))
        results[row] = {'energy': float(np.mean(list(values.values()))), 'above_real': above, 'images': values}
    return results


def table(results: dict[str, dict[str, Any]], title: str) -> str:
    lines = [title, f'{"":20}{"energy":>12}{"above real":>12}']
    for row, values in results.items():
        share = '' if values['above_real'] is None else f'{values["above_real"]:.2f}'
        lines.append(f'{row:20}{values["energy"]:12.3e}{share:>12}'.rstrip())
    return '\n'.join(lines)


def draw(shown: list[Drawn], output: Path) -> None:
    """A row for each image: the images, their energies on one scale, and the reconstruction of the real one."""
    from matplotlib.figure import Figure

    columns = 2 * len(COLUMNS) + 1
    ratios = [row.reconstruction.shape[0] / row.reconstruction.shape[1] + 0.2 for row in shown]  # 0.2 for the titles
    figure = Figure(figsize=(2.1 * columns + 0.8, 2.1 * sum(ratios)), dpi=110, layout='constrained')
    axes = figure.subplots(len(shown), columns, squeeze=False, height_ratios=ratios)
    for line, row in zip(axes, shown, strict=True):
        brightest = max(np.quantile(judged.energy_map, 0.99) for judged in row.judged.values())
        for number, (name, judged) in enumerate(row.judged.items()):
            axis, energy_axis = line[number], line[len(COLUMNS) + number]
            axis.imshow(judged.image[..., ::-1])
            axis.set_title(name, fontsize=9)
            heat = energy_axis.imshow(judged.energy_map, cmap='inferno', vmin=0, vmax=max(brightest, 1e-12))
            energy_axis.set_title(f'energy of {name}\n{judged.energy:.2e}', fontsize=9)
        figure.colorbar(heat, ax=line[columns - 2], shrink=0.8)
        line[-1].imshow(row.reconstruction[..., ::-1])
        line[-1].set_title('AE(real)', fontsize=9)
        for axis in line:
            axis.set(xticks=[], yticks=[])
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output)


# ---------------------------------------------------------------------- command line
def run(args: argparse.Namespace) -> None:
    if args.crop is not None and (args.crop < MULTIPLE or args.crop % MULTIPLE):
        raise UserError(f'--crop {args.crop}: give a multiple of {MULTIPLE}.')
    if args.rows < 1:
        raise UserError('--rows must be 1 or more.')
    if args.output and args.output.suffix.lower() != '.png':
        raise UserError(f'--output {args.output}: give the name of a .png file.')
    opened = load_experiment(args.experiment)
    opt = opened.options or {}
    net = load_discriminator(args.experiment, opt)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    net.to(device)
    opened.net.to(device)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    shown: list[Drawn] = []
    sets = dict(args.sets) if args.sets else validation_sets(opt)
    if not sets:
        raise UserError(f'{args.experiment}: its option file has no validation set with LR images. Give --set.')
    for name, folders in sets.items():
        energies, first = measure(net, opened, folders, args.crop, args.rows if args.output else 0)
        shown += first
        results[name] = summary(energies)
        part = f'the middle {args.crop} x {args.crop} px' if args.crop else 'whole'
        print(table(results[name], f'{name}, {len(energies["real"])} images, {part}'))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(json.dumps(results, indent=1) + '\n', args.json)
    if args.output:
        draw(shown, args.output)
        print(f'picture: {args.output}')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--experiment', type=Path, required=True, metavar='DIR', help='a finished energy GAN')
    parser.add_argument(
        '--set',
        nargs='+',
        type=named_folders,
        metavar='NAME=GT:LQ',
        dest='sets',
        help='folders of true and LR images. Default: the validation sets of the experiment',
    )
    parser.add_argument('--crop', type=int, metavar='PX', help='take the middle square of each image, not all of it')
    parser.add_argument('--output', type=Path, metavar='PNG', help='also draw where the energies sit')
    parser.add_argument('--rows', type=int, default=3, help='images of each set in the picture. Default: 3')
    parser.add_argument('--json', type=Path, metavar='FILE', help="also write each image's energies there")
    args = parser.parse_args(argv)
    register_quietly()
    return exit_status(lambda: run(args))


if __name__ == '__main__':
    sys.exit(main())
