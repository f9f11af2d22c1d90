"""What the benchmarks share: their command line, a model's options, and how a ratio is printed."""

import argparse
import copy
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ext_core.registration import register_all


def benchmark_parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=2, help='images in a batch')
    parser.add_argument('--rounds', type=int, default=12, help='at least 2')
    parser.add_argument('--threads', type=int, default=0, help='CPU threads; 0 leaves torch its choice')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures there')
    return parser


def prepare(args: argparse.Namespace) -> None:
    """Register the plugin, with the threads that the command line names, and without messages of models."""
    if args.threads:
        torch.set_num_threads(args.threads)
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')


def model_options(model_type: str, train: dict, **parts: dict) -> dict:
    """Resolved options of a model that one process trains at scale 4, with copies of the parts that are given."""
    schedule = {'total_iter': 1000, 'scheduler': {'type': 'MultiStepLR', 'milestones': [900], 'gamma': 0.5}}
    return {
        'model_type': model_type,
        'name': 'benchmark',
        'scale': 4,
        'num_gpu': int(torch.cuda.is_available()),
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'path': {},
        'train': schedule | copy.deepcopy(train),
        **copy.deepcopy(parts),
    }


_ITERATIONS = itertools.count(1)  # in the first one our models measure the gradients of their losses


def one_step(model: Any, batch: dict) -> None:
    """One training iteration."""
    model.feed_data(batch)
    model.optimize_parameters(next(_ITERATIONS))


def shown(ratio_: Mapping) -> str:
    """0.936 (0.920 to 0.968)"""
    low, high = ratio_['quartiles']
    return f'{ratio_["median"]:.3f} ({low:.3f} to {high:.3f})'
