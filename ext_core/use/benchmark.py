"""Measure upscalers on test sets: every image by every metric, in several processes, and never the same twice.

``<output>/runs/<method>/<set>/<image>.json`` records each value with a fingerprint of what decided it: weights, images
and the metric's options. A value whose fingerprint is still right is not computed again. The SR image lies beside it.
"""

import itertools
import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ext_core.atomic import atomic_write_bytes, atomic_write_text
from ext_core.errors import UserError, failure_text
from ext_core.use.evaluation import METRICS, measure, usable_metrics
from ext_core.use.jobs import fingerprint, read_record
from ext_core.use.methods import Place, TestSet, Upscaler, hash_of

Metrics = dict[str, dict[str, Any]]
OUR_METRICS: Metrics = {
    **METRICS,
    'lpips': {**METRICS['lpips'], 'crop_border': 0},  # papers measure the whole image
    'pi': {'type': 'calculate_pi', 'better': 'lower'},
}
_RECORD = 2  # raise it where records of before must not be trusted any more


def metrics_of(names: Sequence[str], rgb: bool) -> tuple[Metrics, dict[str, str]]:
    """Metrics by name, ours, ``pyiqa.<name>`` or any that is registered as ``calculate_<name>``, and why others are
    left out. ``rgb``: PSNR and SSIM are measured on RGB instead of luminance.

    Raises:
        UserError: If there is no such metric.
    """
    from basicsr.utils.registry import METRIC_REGISTRY

    from ext_losses.pyiqa_networks import PREFIX, how_to_get

    metrics: Metrics = {}
    for name in names:
        # papers measure the whole image, too, with what pyiqa has
        other = {'type': name, 'crop_border': 0} if name.startswith(PREFIX) else {'type': f'calculate_{name}'}
        metrics[name] = dict(OUR_METRICS.get(name, other))
        if metrics[name]['type'] not in METRIC_REGISTRY:
            known = ', '.join(sorted(key.removeprefix('calculate_') for key, _ in METRIC_REGISTRY))
            raise UserError(how_to_get(name) or f"there is no metric '{name}'. There are: {known}.")
        if rgb and 'test_y_channel' in metrics[name]:
            metrics[name]['test_y_channel'] = False
    return usable_metrics(metrics)


# ---------------------------------------------------------------------- one image
@dataclass
class Task:
    """What is to be measured of one image."""

    upscaler: Upscaler
    place: Place
    folder: Path  # gets the SR image and the record
    source: str  # fingerprint of what decides the SR image
    wanted: dict[str, tuple[dict[str, Any], str]]  # by metric its options, and the fingerprint of its value

    @property
    def record_file(self) -> Path:
        """Where its values are kept."""
        return self.folder / f'{self.place.name}.json'

    def record(self) -> dict[str, Any]:
        """``picture``, the ``source`` of the SR image beside it, and ``metrics``: values with their fingerprints."""
        record = read_record(self.record_file)
        return record if isinstance(record.get('metrics'), dict) else {'metrics': {}}

    def values(self) -> dict[str, float | None]:
        """Those that are recorded and still right; None where the image is too small for the metric."""
        known = self.record()['metrics']
        return {
            metric: known[metric]['value']
            for metric, (_, inputs) in self.wanted.items()
            if known.get(metric, {}).get('inputs') == inputs
        }

    def perform(self) -> dict[str, str]:
        """Compute and record what is missing.

        Returns:
            dict[str, str]: Metric to what went wrong with it. That is not recorded, so the next run tries again.
        """
        known, record, upscaler, (width, height) = self.values(), self.record(), self.upscaler, self.place.size
        missing = {metric: wanted for metric, wanted in self.wanted.items() if metric not in known}
        picture = self.folder / f'{self.place.name}.png'
        image = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if upscaler.timed and record.get('picture') == self.source:
                image = cv2.imread(str(picture))
            if image is None:
                image = upscaler.render(self.place)
                if image.shape[:2] != (height, width):
                    raise ValueError(f'the image is {image.shape[1]} x {image.shape[0]} instead of {width} x {height}')
                if upscaler.timed:
                    self.record_file.unlink(missing_ok=True)  # it is another picture's, should this run be stopped now
                    atomic_write_bytes(cv2.imencode('.png', image)[1].tobytes(), picture)
                    record['picture'] = self.source
            truth = upscaler.truth(self.place)[:height, :width]
        except Exception as error:  # whatever it is, the other images are still worth measuring
            return dict.fromkeys(missing, failure_text(error).split('\n')[0])
        failed = {}
        for metric, (options, inputs) in missing.items():
            try:
                value = measure(image, truth, options['crop_border'], {metric: options})[metric]
                record['metrics'][metric] = {'inputs': inputs, 'value': None if np.isnan(value) else value}
            except Exception as error:
                failed[metric] = failure_text(error).split('\n')[0]
        atomic_write_text(json.dumps(record, indent=1) + '\n', self.record_file)
        return failed


# ---------------------------------------------------------------------- all images
@dataclass
class Benchmark:
    """Methods, sets and metrics, and where the results go.

    ``failures`` says, after :meth:`run`, what went wrong: a line for each value.
    """

    sets: Sequence[TestSet]
    upscalers: Sequence[Upscaler]
    metrics: Metrics
    output: Path
    border: int | None = None  # pixels left out at each side; None: the scale
    failures: list[str] = field(default_factory=list)

    def tasks(self) -> dict[tuple[str, str], list[Task]]:
        """By method and set, of those that fit."""
        found: dict[tuple[str, str], list[Task]] = {}
        for upscaler, test_set in itertools.product(self.upscalers, self.sets):
            if not upscaler.takes(test_set):
                continue
            tasks = found[upscaler.name, test_set.name] = []
            for place in test_set.places:
                files = [hash_of(path) for path in upscaler.sources(place)]
                source = fingerprint(_RECORD, upscaler.identity(), place.scale, files)
                wanted = {}
                for metric, options in self.metrics.items():
                    if upscaler.only is None or metric in upscaler.only:
                        options = {'crop_border': place.scale if self.border is None else self.border, **options}
                        wanted[metric] = (options, fingerprint(source, hash_of(place.gt), options))
                folder = self.output / 'runs' / upscaler.name / test_set.name
                tasks.append(Task(upscaler, place, folder, source, wanted))
        return found

    def run(self, processes: int = 1, threads: int = 1) -> None:
        """Measure what is missing.

        Args:
            processes (int): Images at a time; with several GPUs each process takes one in turn.
            threads (int): Of each process, where there are several.

        Raises:
            UserError: If a process dies. What is done is kept.
        """
        groups = self.tasks().values()
        todo = [task for tasks in groups for task in tasks if len(task.values()) < len(task.wanted)]
        print(f'{sum(map(len, groups))} images in {len(groups)} pairs of method and set, {len(todo)} to measure')

        def note(task: Task, failed: dict[str, str]) -> None:
            label = f'{task.upscaler.name}, {task.place.set_name}, {task.place.name}'
            lines = [f'{label}, {metric}: {why}' for metric, why in failed.items()]
            self.failures += lines
            for line in lines:
                print(line)

        if processes == 1 or len(todo) < 2:
            for task in todo:
                note(task, task.perform())
            return
        context = multiprocessing.get_context('spawn')  # CUDA and the threads of torch do not survive a fork
        started = context.Value('i', 0)
        pool = ProcessPoolExecutor(min(processes, len(todo)), context, _prepare, (threads, started))
        try:
            futures = {pool.submit(Task.perform, task): task for task in todo}
            for future in as_completed(futures):
                note(futures[future], future.result())
        except BrokenProcessPool as error:
            raise UserError(
                'a process died, perhaps for want of memory. Repeat the command with --processes 1.'
            ) from error
        finally:  # also where the run is stopped: nothing more is started
            pool.shutdown(cancel_futures=True)

    def results(self) -> dict[tuple[str, str], dict[str, dict[str, float | None]]]:
        """Method and set to image to the values that there are."""
        return {key: {task.place.name: task.values() for task in tasks} for key, tasks in self.tasks().items()}


def _prepare(threads: int, started: Synchronized) -> None:
    """At the start of a process."""
    import torch

    from ext_core.registration import register_quietly

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    if torch.cuda.is_available():
        with started.get_lock():
            torch.cuda.set_device(started.value % torch.cuda.device_count())
            started.value += 1
    register_quietly()


def default_processes() -> tuple[int, int]:
    """Processes and threads of each that fill this machine: one process for each GPU, else for every two cores."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    processes = torch.cuda.device_count() if torch.cuda.is_available() else max(1, cores // 2)
    return processes, max(1, cores // processes)
