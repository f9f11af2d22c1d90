"""Kill trainings at random moments, continue them with --auto_resume, and compare their ends with undisturbed runs.

Example:
    python scripts/torture.py --kills 100 --json torture.json
    python scripts/torture.py --kills 20 --recipes train_srresnet --processes 1 --commands 0

Every case is a recipe with one or two processes, its demo shrunk to seconds: 24 iterations, a checkpoint every 4. Half
of the interruptions wait for a file to appear in the folders of checkpoints, others come in the middle of iterations or
while the training starts. Most are SIGKILL to all processes at once; with two processes, some hit one rank only, and
the other has to end by itself; some are SIGTERM or SIGINT, which save, and are not counted as kills. A run that comes
to its end is compared with the run that nobody disturbed: networks, EMA, training state and TensorBoard's curves must
be the same to the last bit. Then it starts over, until all kills are used.

Most trainings are forks of this process, which has imported torch and BasicSR already, so that a kill does not cost
these imports. They run the same code as basicsr/train.py in processes of their own (ext_core/torture/runs.py). The last
--commands kills are of the real commands, python basicsr/train.py and torchrun, compared with the same undisturbed
runs.

The exit status is 1 where an end differs, a training fails or does not end. CPU only; all files are in a temporary
folder, which is removed at the end.
"""

import argparse
import importlib
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.torture.runs import ENVIRONMENT

os.environ.update(ENVIRONMENT)  # before torch starts threads, which forks would not have

from ext_core.registration import register_all
from ext_core.saving.checkpoint import atomic_write_text
from ext_core.studies.report import table_text
from ext_core.torture.kills import RECIPES, Case, Result

ROOT = Path(__file__).resolve().parents[1]
IMPORTED_LATE = (
    'basicsr.train',
    'ext_core.check',
    'ext_core.training.trainer',
    'torch.utils.tensorboard',
)  # by a training
HEADINGS = ('recipe', 'processes', 'started by', 'kills', 'while writing', 'of one rank', 'stops', 'resumes',
            'from an older checkpoint', 'runs', 'identical')  # fmt: skip


@contextmanager
def workplace() -> Iterator[Path]:
    """A temporary folder that looks like the project to a training."""
    folder = Path(tempfile.mkdtemp(prefix='torture_'))
    try:
        (folder / 'basicsr').mkdir()
        shutil.copy(ROOT / 'basicsr' / 'train.py', folder / 'basicsr')
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def plan(args: argparse.Namespace) -> list[tuple[str, int, str, int]]:
    """(recipe, processes, how, kills) of every case: kills of forks are shared evenly, as are those of commands."""
    forks = [(recipe, processes, 'fork') for recipe in args.recipes for processes in args.processes]
    commands = [(args.recipes[0], processes, 'command') for processes in args.processes]
    commanded = min(args.commands, args.kills)
    shares = [*_shares(args.kills - commanded, len(forks)), *_shares(commanded, len(commands))]
    return [(*case, kills) for case, kills in zip([*forks, *commands], shares, strict=True) if kills]


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (index < total % parts) for index in range(parts)]


def torture(args: argparse.Namespace) -> list[Result]:
    """All cases; the undisturbed run of a recipe and a number of processes is made once."""
    import torch

    for module in IMPORTED_LATE:
        importlib.import_module(module)
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    results: list[Result] = []
    cases: dict[tuple[str, int], Case] = {}
    with workplace() as folder:
        for recipe, processes, how, kills in plan(args):
            case = cases.get((recipe, processes))
            if case is None:
                case = cases[recipe, processes] = Case(ROOT / 'options', recipe, processes, folder, rng, say)
                case.reference()
            results.append(case.torture(kills, how))
            for problem in results[-1].problems:
                say(f'{recipe} x {processes}: {problem}')
    return results


def say(line: str) -> None:
    print(f'{time.strftime("%H:%M:%S")} {line}', flush=True)


def table(results: list[Result]) -> str:
    """A row a case, and their sums."""
    rows: list[list[str | int]] = [
        [r.recipe, r.processes, r.how, r.kills, r.writing, r.ranks, r.stops,
         r.resumes, r.fallbacks, r.rounds, 'yes' if r.identical else 'no']
        for r in results
    ]  # fmt: skip
    sums = [sum(int(row[column]) for row in rows) for column in range(3, 10)]
    rows.append(['all', '', '', *sums, 'yes' if all(r.identical for r in results) else 'no'])
    return table_text([HEADINGS, *([str(cell) for cell in row] for row in rows)])


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=_count, default=100, help='SIGKILLs in all, default: 100')
    parser.add_argument('--recipes', nargs='+', choices=RECIPES, default=list(RECIPES), help='default: all of these')
    parser.add_argument('--processes', nargs='+', type=int, choices=(1, 2), default=[1, 2], help='default: 1 2')
    parser.add_argument('--commands', type=_count, default=10, help='kills of real commands among them, default: 10')
    parser.add_argument('--seed', type=int, default=0, help='of the moments and kinds of kills, default: 0')
    parser.add_argument('--json', type=Path, help='write the table there too')
    return parser.parse_args(argv)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'expected 0 or more, but got {text!r}')
    return value


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    logging.getLogger('tensorboard').setLevel(logging.ERROR)  # it tells of every mark that a resume left
    register_all()
    began = time.monotonic()
    try:
        results = torture(args)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except RuntimeError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(table(results))
    print(f'{time.monotonic() - began:.0f} s')
    if args.json:
        rows = [asdict(result) | {'identical': result.identical} for result in results]
        atomic_write_text(json.dumps(rows, indent=1) + '\n', args.json)
    return 0 if all(result.identical for result in results) else 1


if __name__ == '__main__':
    sys.exit(main())
