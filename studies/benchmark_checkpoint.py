"""Time what a checkpoint takes from the training loop: BasicSR's way of saving against ours, alternating in one run.

Example:
    python studies/benchmark_checkpoint.py --json checkpoint.json
    python studies/benchmark_checkpoint.py --case EDSR --rounds 20 --threads 1

A round trains a few steps three times, in an order that rotates: without a checkpoint, after one that the installed
BasicSR saves, and after one of ours, written in the background with fsync, checksums and a manifest. The model is the
same: Adam, and a moving average of the weights. Two figures:

- the time for which the loop waits: the call that saves, and with ours also the waiting of the optimizer for copies;
- the time that all steps with the checkpoint take longer than those without, which also counts what the writing takes
  from them: processor, memory, and Python's lock. It is a small difference of long times; look at its quartiles.

Figures are medians over rounds, with the quartiles.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.benchmark.timing import alternate, ratio
from ext_core.saving.checkpoint import atomic_write_text, rng_state
from ext_core.saving.writer import CheckpointWriter
from studies.side_by_side import benchmark_parser, model_options, prepare, shown

GENERATORS = {
    'EDSR': {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16, 'upscale': 4},
    'RRDBNet': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 23, 'num_grow_ch': 32},
}
NONE, BASICSR, OURS = 'without', 'BasicSR', 'ours'
AIM = 0.02  # of the time for which BasicSR's loop waits


def options(generator: str, folder: Path) -> dict:
    """Resolved options of the model."""
    train = {'optim_g': {'type': 'Adam', 'lr': 1e-4}, 'ema_decay': 0.999, 'pixel_opt': {'type': 'L1Loss'}}
    path = {'models': str(folder), 'training_states': str(folder)}
    return model_options('ExtSRModel', train, path=path, network_g=GENERATORS[generator])


def untouched_base_model() -> Any:
    """BasicSR's base model as it is installed, without our patches."""
    from basicsr.models import base_model

    spec = importlib.util.spec_from_file_location('untouched_base_model', str(base_model.__file__))
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BaseModel


class Run:
    """A model in training, which is saved in one way or another.

    Args:
        generator (str): One of ``GENERATORS``.
        folder (Path): Gets the checkpoints.
        batch (dict): What it trains on.
        steps (int): How many iterations follow on each checkpoint.
    """

    def __init__(self, generator: str, folder: Path, batch: dict, steps: int):
        from basicsr.models import build_model

        self.model = build_model(options(generator, folder))
        self.stock = untouched_base_model()
        self.batch, self.steps, self.iteration = batch, steps, 0
        self.writer = CheckpointWriter(folder)
        self.writer.guard(self.model)
        self.waits: dict[str, list[float]] = {BASICSR: [], OURS: []}

    def train(self, save: Callable[[], float] | None = None) -> None:
        """``save``, then the steps, then the end of what is being written."""
        waited = save() if save else 0.0
        before = self.writer.waited
        for _ in range(self.steps):
            self.iteration += 1
            self.model.feed_data(self.batch)
            self.model.optimize_parameters(self.iteration)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if save:
            self.waits[BASICSR if save == self.save_basicsr else OURS].append(waited + self.writer.waited - before)

    def save_basicsr(self) -> float:
        """As BasicSR's SRModel does. Seconds."""
        started = time.perf_counter()
        self.stock.save_network(
            self.model, [self.model.net_g, self.model.net_g_ema], 'net_g', self.iteration, ['params', 'params_ema']
        )
        self.stock.save_training_state(self.model, 0, self.iteration)
        return time.perf_counter() - started

    def save_ours(self) -> float:
        """As the trainer does. Seconds."""
        started = time.perf_counter()
        self.model.checkpoint_writer = self.writer
        self.model.extra_training_state = lambda: {'rng': [rng_state()], 'batches_in_epoch': self.iteration, 'best': {}}
        self.model.save(0, self.iteration)
        self.writer.submit()
        return time.perf_counter() - started

    def finish(self) -> float:
        """Let the writer end, and remove the files. Seconds for which the former took longer than the steps."""
        started = time.perf_counter()
        self.writer.drain()
        seconds = time.perf_counter() - started
        for path in self.writer.states.iterdir():
            path.unlink()
        return seconds


def measure(generator: str, args: argparse.Namespace) -> dict:
    """Seconds and ratios for one generator."""
    batch = {
        'lq': torch.rand(args.batch, 3, args.crop // 4, args.crop // 4),
        'gt': torch.rand(args.batch, 3, args.crop, args.crop),
    }
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        run = Run(generator, Path(folder), batch, args.steps)
        late: list[float] = []

        def with_ours() -> None:
            run.train(run.save_ours)
            late.append(run.finish())

        def with_basicsr() -> None:
            run.train(run.save_basicsr)
            run.finish()

        variants = {NONE: run.train, BASICSR: with_basicsr, OURS: with_ours}
        with run.writer:
            seconds = alternate(variants, args.rounds)
    waits = {name: values[1:] for name, values in run.waits.items()}  # as alternate: the first round is not counted
    longer = {name: [a - b for a, b in zip(seconds[name], seconds[NONE], strict=True)] for name in (BASICSR, OURS)}
    return {
        'generator': generator,
        'waits': {name: statistics.median(values) for name, values in waits.items()},
        'waits, ours / BasicSR': ratio(waits[OURS], waits[BASICSR]),
        'longer': {name: spread(values) for name, values in longer.items()},
        'step': statistics.median(seconds[NONE]) / args.steps,
        'written after the steps': statistics.median(late[1:]),
    }


def spread(values: list[float]) -> dict:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {'median': middle, 'quartiles': [low, high]}


def main(argv: list[str] | None = None) -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument('--case', nargs='+', choices=GENERATORS, default=list(GENERATORS), help='generators')
    parser.add_argument('--crop', type=int, default=128, help='side of the HR images in pixels')
    parser.add_argument('--steps', type=int, default=4, help='iterations after each checkpoint')
    parser.add_argument('--folder', type=Path, help='where to write; by default the folder for temporary files')
    args = parser.parse_args(argv)
    prepare(args)
    results = []
    for generator in args.case:
        result = measure(generator, args)
        results.append(result)
        print(f'{generator}, a step of {result["step"]:.3f} s')
        waits, share = result['waits'], result['waits, ours / BasicSR']
        verdict = 'at most' if share['median'] <= AIM else 'MORE THAN'
        print(f'  the loop waits: BasicSR {waits[BASICSR] * 1000:.1f} ms, ours {waits[OURS] * 1000:.2f} ms')
        print(f'  ours / BasicSR: {shown(share)}, {verdict} the aim of {AIM}')
        for name, difference in result['longer'].items():
            middle, low, high = (1000 * value for value in (difference['median'], *difference['quartiles']))
            print(f'  {args.steps} steps take longer with {name}: {middle:.0f} ms ({low:.0f} to {high:.0f})')
        print(f'  written {result["written after the steps"] * 1000:.0f} ms after these steps', flush=True)
    if args.json:
        settings = {'batch': args.batch, 'crop': args.crop, 'steps': args.steps, 'threads': torch.get_num_threads()}
        atomic_write_text(json.dumps({**settings, 'results': results}, indent=1) + '\n', args.json)


if __name__ == '__main__':
    main()
