"""Measure upscalers on test sets: every image by every metric, in several processes, and never the same twice.

``<output>/runs/<method>/<set>/<image>.json`` records each value with a fingerprint of what decided it: weights, images
and the metric's options. A value whose fingerprint is still right is not computed again. The SR image lies beside it.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ext_core.atomic import atomic_write_bytes, atomic_write_text
from ext_core.errors import UserError, refusal
from ext_core.use.evaluation import METRICS, measure, usable_metrics
from ext_core.use.jobs import fingerprint
from ext_core.use.methods import Place, TestSet, Upscaler, hash_of

Metrics = dict[str, dict[str, Any]]
OUR_METRICS: Metrics = {
    **METRICS,
    'lpips': {**METRICS['lpips'], 'crop_border': 0},  # papers measure the whole image
    'pi': {'type': 'calculate_pi', 'better': 'lower'},
}
_RECORD = 1  # raise it where records of before must not be trusted any more


def metrics_of(names: Sequence[str], rgb: bool) -> tuple[Metrics, dict[str, str]]:
    """Metrics by name, ours or any that is registered as ``calculate_<name>``, and why others are left out.

    Args:
        names (Sequence[str]): For instance 'psnr', 'lpips'.
        rgb (bool): Measure PSNR and SSIM on RGB instead of luminance.

    Raises:
        UserError: If there is no such metric.
    """
    from basicsr.utils.registry import METRIC_REGISTRY

    metrics: Metrics = {}
    for name in names:
        metrics[name] = dict(OUR_METRICS.get(name, {'type': f'calculate_{name}'}))
        if metrics[name]['type'] not in METRIC_REGISTRY:
            known = ', '.join(sorted(key.removeprefix('calculate_') for key, _ in METRIC_REGISTRY))
            raise UserError(f"there is no metric '{name}'. There are: {known}.")
        if rgb and 'test_y_channel' in metrics[name]:
            metrics[name]['test_y_channel'] = False
    return usable_metrics(metrics)


# ---------------------------------------------------------------------- one image
@dataclass
class Task:
    """What is to be measured of one image: ``wanted[metric]`` are the options and the fingerprint of the value."""

    upscaler: Upscaler
    place: Place
    folder: Path
    source: str
    wanted: dict[str, tuple[dict[str, Any], str]]

    @property
    def label(self) -> str:
        """Who and what, for messages."""
        return f'{self.upscaler.name}, {self.place.set_name}, {self.place.name}'

    @property
    def picture(self) -> Path:
        """Where its SR image is kept."""
        return self.folder / f'{self.place.name}.png'

    @property
    def record(self) -> Path:
        """Where its values are kept."""
        return self.folder / f'{self.place.name}.json'

    def values(self) -> dict[str, float | None]:
        """Those that are recorded and still right."""
        known = _read_record(self.record)['metrics']
        return {
            metric: known[metric]['value']
            for metric, (_, inputs) in self.wanted.items()
            if known.get(metric, {}).get('inputs') == inputs
        }


def task_of(upscaler: Upscaler, place: Place, metrics: Metrics, border: int | None, output: Path) -> Task:
    """An image of a method with all its metrics. The border is the scale unless given."""
    source = fingerprint(_RECORD, upscaler.identity(), place.scale, [hash_of(path) for path in upscaler.sources(place)])
    wanted = {}
    for metric, options in metrics.items():
        if upscaler.only is None or metric in upscaler.only:
            options = {'crop_border': place.scale if border is None else border, **options}
            wanted[metric] = (options, fingerprint(source, hash_of(place.gt), options))
    return Task(upscaler, place, output / 'runs' / upscaler.name / place.set_name, source, wanted)


def perform(task: Task) -> dict[str, str]:
    """Compute and record what is missing.

    Returns:
        dict[str, str]: Metric to what went wrong with it. Such values are not recorded, so the next run tries again.
    """
    known = task.values()
    missing = {metric: wanted for metric, wanted in task.wanted.items() if metric not in known}
    record, upscaler, (width, height) = _read_record(task.record), task.upscaler, task.place.size
    image = None
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
        picture = record.get('picture', {})
        if upscaler.kept and picture.get('inputs') == task.source and task.picture.is_file():
            data = task.picture.read_bytes()
            if sha256(data).hexdigest() == picture['sha256']:  # else of a run that was stopped before its record
                image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            image = upscaler.render(task.place)
            if image.shape[:2] != (height, width):
                raise ValueError(f'the image is {image.shape[1]} x {image.shape[0]} instead of {width} x {height}')
            if upscaler.kept:
                data = cv2.imencode('.png', image)[1].tobytes()
                atomic_write_bytes(data, task.picture)
                record['picture'] = {'inputs': task.source, 'sha256': sha256(data).hexdigest()}
        truth = upscaler.truth(task.place)[:height, :width]
    except Exception as error:  # whatever it is, the other images are still worth measuring
        return dict.fromkeys(missing, _reason(error))
    failed = {}
    for metric, (options, inputs) in missing.items():
        try:
            value = measure(image, truth, options['crop_border'], {metric: options})[metric]
            record['metrics'][metric] = {'inputs': inputs, 'value': None if np.isnan(value) else value}
        except Exception as error:
            failed[metric] = _reason(error)
    atomic_write_text(json.dumps(record, indent=1) + '\n', task.record)
    return failed


def _read_record(path: Path) -> dict:
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        return record if isinstance(record['metrics'], dict) else {'metrics': {}}
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: measured anew
        return {'metrics': {}}


def _reason(error: Exception) -> str:
    text = str(error).strip().split('\n')[0]
    return text if refusal(error) is not None else f'{type(error).__name__}: {text}'


# ---------------------------------------------------------------------- in several processes
def run_tasks(tasks: Sequence[Task], processes: int, threads: int) -> Iterator[tuple[Task, dict[str, str]]]:
    """Perform tasks, each process with a number of threads; with several GPUs each process takes one in turn.

    Yields:
        tuple[Task, dict[str, str]]: A task that has ended, with what went wrong.
    """
    if processes == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, perform(task)
        return
    context = multiprocessing.get_context('spawn')  # CUDA and the threads of torch do not survive a fork
    started = context.Value('i', 0)
    waiting, workers = list(tasks), processes
    while waiting:
        pool = ProcessPoolExecutor(min(workers, len(waiting)), context, _prepare, (threads, started))
        futures: dict[Future, Task] = {}
        ended = set()
        try:
            with contextlib.suppress(BrokenProcessPool):
                for task in waiting:
                    futures[pool.submit(perform, task)] = task
            for future in as_completed(futures):
                if not isinstance(future.exception(), BrokenProcessPool):
                    ended.add(futures[future].label)
                    yield futures[future], future.result()
        finally:  # also where the run is stopped: nothing more is started
            pool.shutdown(cancel_futures=True)
        waiting = [task for task in waiting if task.label not in ended]
        if waiting and workers == 1:  # it takes tasks in their order, so the first one killed it
            guilty, died = waiting.pop(0), 'its process died, perhaps for want of memory; try --processes 1'
            yield guilty, dict.fromkeys(guilty.wanted, died)
        workers = 1


def _prepare(threads: int, started: Synchronized) -> None:
    """At the start of a process."""
    import torch

    from ext_core.registration import register_all

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    if torch.cuda.is_available():
        with started.get_lock():
            torch.cuda.set_device(started.value % torch.cuda.device_count())
            started.value += 1
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')


# ---------------------------------------------------------------------- all images
@dataclass
class Benchmark:
    """Methods, sets and metrics, and where the results go.

    ``failures`` says, after :meth:`run`, what went wrong: method, set and image to metric to the reason.
    """

    sets: Sequence[TestSet]
    upscalers: Sequence[Upscaler]
    metrics: Metrics
    output: Path
    border: int | None = None
    failures: dict[str, dict[str, str]] = field(default_factory=dict)

    def tasks(self) -> dict[tuple[str, str], list[Task]]:
        """By method and set, of those that fit."""
        return {
            (upscaler.name, test_set.name): [
                task_of(upscaler, place, self.metrics, self.border, self.output) for place in test_set.places
            ]
            for upscaler in self.upscalers
            for test_set in self.sets
            if upscaler.takes(test_set)
        }

    def run(self, runner: Callable[[Sequence[Task]], Iterable[tuple[Task, dict[str, str]]]], say=print) -> None:
        """Measure what is missing; ``runner`` gives each task with what went wrong, as it ends."""
        groups = self.tasks()
        pending = {
            key: [task for task in tasks if len(task.values()) < len(task.wanted)] for key, tasks in groups.items()
        }
        todo = [task for tasks in pending.values() for task in tasks]
        total = sum(map(len, groups.values()))
        say(f'{total} images in {len(groups)} pairs of method and set, {len(todo)} to measure')
        left = {key: len(tasks) for key, tasks in pending.items()}
        for task, failed in runner(todo):
            if failed:
                self.failures[task.label] = failed
                say(f'{task.label}: ' + '; '.join(f'{metric}: {reason}' for metric, reason in failed.items()))
            key = (task.upscaler.name, task.place.set_name)
            left[key] -= 1
            if not left[key]:
                say(f'{key[0]} on {key[1]}: done')

    def results(self) -> dict[tuple[str, str], dict[str, dict[str, float | None]]]:
        """Method and set to image to the values that there are; None where an image is too small for a metric."""
        return {key: {task.place.name: task.values() for task in tasks} for key, tasks in self.tasks().items()}


def default_processes() -> tuple[int, int]:
    """Processes and threads of each that fill this machine: one process for each GPU, else for every two cores."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    processes = torch.cuda.device_count() if torch.cuda.is_available() else max(1, cores // 2)
    return processes, max(1, cores // processes)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number from 1 on, but got {text!r}')
    return int(text)
