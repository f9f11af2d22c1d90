"""Arguments that several scripts take; nothing here imports torch, so that `--help` comes at once."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from ext_core.errors import UserError


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an argument of a script that is a whole number from ``least`` on, or up to ``most``."""

    def number(text: str) -> int:
        if not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
            end = 'on' if most is None else f'to {most}'
            raise argparse.ArgumentTypeError(f'expected a whole number from {least} {end}, but got {text!r}')
        return int(text)

    return number


def picture(text: str) -> Path:
    """A file of a command line that matplotlib can draw into."""
    if Path(text).suffix.lower() not in ('.png', '.jpg', '.jpeg', '.pdf', '.svg'):
        raise argparse.ArgumentTypeError(f'expected a name that ends in .png, .jpg, .pdf or .svg, but got {text!r}')
    return Path(text)


def spare_inputs(output: Path | None, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the input images.

    Raises:
        UserError: Naming it.
    """
    if output is not None and output.exists() and any(output.samefile(path) for path in inputs if path.exists()):
        raise UserError(f'{output} is an image of the input and would be overwritten. Name another file.')


def require_json(path: Path | None, inputs: Iterable[Path]) -> None:
    """Refuse a ``--json`` that could not be written when the work is done, or that is one of the input images.

    Raises:
        UserError: Naming it.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UserError(f'--json {path} cannot be written: it is a folder, or in one that is not there.')
    spare_inputs(path, inputs)


def named_folders(text: str) -> tuple[str, tuple[Path, Path]]:
    """``NAME=GT_DIR:LQ_DIR`` of a command line."""
    name, _, folders = text.partition('=')
    gt, _, lq = folders.partition(':')
    if not (name and gt and lq):
        raise argparse.ArgumentTypeError(f'expected NAME=GT_DIR:LQ_DIR, but got {text!r}')
    return name, (Path(gt), Path(lq))


def add_conversion(parser: argparse.ArgumentParser, output: str) -> None:
    """What scripts that convert a generator take: IN, OUT with one of the suffixes ``output``, how to read IN."""
    parser.add_argument('input', type=Path, metavar='IN', help='file, experiment, or name in generators/')
    parser.add_argument('output', type=Path, metavar='OUT', help=output)
    parser.add_argument('--options', type=Path, metavar='YML', help='option file with network_g, if none lies beside')
    parser.add_argument('--scale', type=int, metavar='N', help='where neither the weights nor an option file show it')
    parser.add_argument('--key', default='params_ema', help='of the weights in IN; default: params_ema')
    parser.add_argument('--force', action='store_true', help='overwrite OUT')
