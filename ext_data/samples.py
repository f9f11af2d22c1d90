"""Samples whose random draws depend only on (seed, epoch, position), and errors that name the file."""

import math
import multiprocessing
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from basicsr.utils import get_root_logger
from torch.utils.data import Dataset, Sampler

CPU = torch.device('cpu')
_UNKNOWN, _BAD, _EXPECTED = range(3)  # what is known of a sample: nothing, that it fails, that it has failed elsewhere


class SeededSampler(Sampler):
    """Shuffled (epoch, position) keys of an enlarged dataset, this rank's share of them.

    Position runs over ``ratio`` copies of the dataset; ranks take every ``num_replicas``-th key of one common
    permutation, so that N ranks together see the batches that one process sees. (BasicSR's EnlargedSampler shuffles
    without the seed.)

    Args:
        dataset_size (int): Number of different samples.
        num_replicas (int): Number of processes.
        rank (int): Index of this process.
        ratio (int): Copies of the dataset in one epoch.
        seed (int): Seed of the shuffle.
    """

    def __init__(self, dataset_size: int, num_replicas: int = 1, rank: int = 0, ratio: int = 1, seed: int = 0):
        self.num_replicas = num_replicas
        self.rank = rank
        self.seed = seed
        self.num_samples = math.ceil(dataset_size * ratio / num_replicas)
        self.epoch = 0
        self.start = 0

    def set_position(self, epoch: int, start: int = 0) -> None:
        """The next iteration yields this epoch's keys from the ``start``-th on."""
        self.epoch = epoch
        self.start = start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        seed = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
        order = torch.randperm(self.num_samples * self.num_replicas, generator=torch.Generator().manual_seed(seed))
        own = order[self.rank :: self.num_replicas][self.start :]
        return iter([(self.epoch, position) for position in own.tolist()])

    def __len__(self) -> int:
        return self.num_samples


class SeededDataset(Dataset):
    """Wraps a dataset so that a sample's augmentation is drawn from (seed, epoch, position).

    With it, results do not depend on the number of workers, epochs differ in their crops (BasicSR's repeat), and a
    resumed run draws what the uninterrupted one would have. A sample that cannot be read is reported once with its
    files, counted, and replaced by the next readable one, until ``max_bad_samples`` different ones have failed. The
    budget is the run's: what fails in one process counts in the others from the next checkpoint on, and after a resume
    (:attr:`bad`); a sample that has been repaired meanwhile is used again and no longer counted. ``sample_key`` of a
    sample, epoch and position, is for what is drawn for it later on.

    Args:
        dataset (Dataset): Any map-style dataset; it may draw from Python's, NumPy's and torch's global generators.
        seed (int): Seed of the run.
        max_bad_samples (int): Unreadable samples tolerated. Default: 10.
    """

    def __init__(self, dataset: Dataset, seed: int, max_bad_samples: int = 10):
        self.dataset = dataset
        self.seed = seed
        self.max_bad_samples = max_bad_samples
        self._bad = multiprocessing.Array('b', len(dataset))  # type: ignore[arg-type]  # shared among the workers

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    @property
    def bad(self) -> list[int]:
        """The samples that could not be read so far."""
        return [index for index, state in enumerate(self._bad[:]) if state != _UNKNOWN]

    def expect_bad(self, indices: Iterable[int]) -> None:
        """Count samples that could not be read elsewhere, and try them again when it is their turn."""
        with self._bad.get_lock():
            for index in indices:
                if index < len(self) and self._bad[index] == _UNKNOWN:
                    self._bad[index] = _EXPECTED

    def __getitem__(self, key: tuple[int, int]) -> dict:
        epoch, position = key
        size = len(self)
        with own_draws():
            for index in ((position + step) % size for step in range(size)):  # the wanted sample, then its successors
                if self._bad[index] == _BAD:
                    continue
                seed_everything(self.seed, epoch, position)
                try:
                    sample = self.dataset[index]
                except Exception as error:
                    self._report(index, error)
                else:
                    if self._bad[index]:
                        self._bad[index] = _UNKNOWN
                    return {**sample, 'sample_key': f'{epoch} {position}'}  # text stays on the CPU
        raise OSError('None of the training images can be read; see the warnings above.')

    def _report(self, index: int, error: Exception) -> None:
        with self._bad.get_lock():
            known = self._bad[index] != _UNKNOWN
            self._bad[index] = _BAD
            count = self._bad[:].count(_BAD) if known else len(self.bad)  # what is expected may be repaired
        files = sample_files(self.dataset, index)
        if count > self.max_bad_samples:
            raise OSError(
                f'{count} training samples cannot be read, more than datasets:train:max_bad_samples '
                f'({self.max_bad_samples}). The last one: {files} ({type(error).__name__}: {error}). Find all of them '
                'with: python scripts/prepare_data.py --help (it verifies every image).'
            ) from error
        if known:  # it has been reported
            return
        get_root_logger().warning(
            f'Training sample skipped ({count} of at most {self.max_bad_samples} so far): {files} cannot be used: '
            f'{type(error).__name__}: {error}. Replace or delete it.'
        )


class NamedErrorDataset(Dataset):
    """Wraps an evaluation dataset so that a sample that cannot be read ends in an error naming its files.

    Args:
        dataset (Dataset): Any map-style dataset; its attributes stay reachable, as BasicSR's validation expects.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getattr__(self, name: str):
        if name == 'dataset':  # not set yet while a worker unpickles
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> dict:
        try:
            return self.dataset[index]
        except Exception as error:
            raise OSError(
                f'Evaluation images {sample_files(self.dataset, index)} cannot be used: '
                f'{type(error).__name__}: {error}. Replace or delete them.'
            ) from error


def sample_files(dataset: Dataset, index: int) -> str:
    """The files of a sample, for messages."""
    paths = getattr(dataset, 'paths', None)
    if not isinstance(paths, list) or index >= len(paths):
        return f'sample {index}'
    entry = paths[index]
    return ' and '.join(str(v) for k, v in entry.items() if 'path' in k) if isinstance(entry, dict) else str(entry)


def seed_everything(*entropy: int, device: torch.device = CPU) -> None:
    """Seed Python's, NumPy's and torch's global generators, on a GPU also its own."""
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002  # BasicSR draws from the global generators
    torch.default_generator.manual_seed(int(words[2]))
    if device.type == 'cuda':
        torch.cuda.manual_seed(int(words[2]))


@contextmanager
def own_draws(device: torch.device = CPU) -> Iterator[None]:
    """Context after which the random generators go on as if nothing had been drawn from them."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def rng_state() -> dict[str, Any]:
    """State of every random number generator a training draws from.

    Returns:
        dict[str, Any]: 'python', 'numpy', 'torch' and, where CUDA is available, 'cuda' (one tensor per device). Only
        types that ``torch.load(weights_only=True)`` accepts.
    """
    numpy_state: Any = np.random.get_state()  # noqa: NPY002, the generator that BasicSR draws from
    name, keys, position, has_gauss, cached = numpy_state
    state = {
        'python': random.getstate(),
        'numpy': (name, torch.from_numpy(keys.view(np.int32)), int(position), int(has_gauss), float(cached)),
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Restore what ``rng_state`` returned.

    Args:
        state (Mapping[str, Any]): Result of ``rng_state``, possibly from a machine with another number of CUDA devices;
            devices without a saved state keep theirs.
    """
    name, keys, position, has_gauss, cached = state['numpy']
    random.setstate(state['python'])
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state['torch'])
    if torch.cuda.is_available():
        for device, device_state in zip(range(torch.cuda.device_count()), state.get('cuda', []), strict=False):
            torch.cuda.set_rng_state(device_state, device)
