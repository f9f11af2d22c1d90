"""Measure upscalers on test sets: every image by every metric, in several processes, and never the same twice.

``<output>/runs/<method>/<set>/<image>.json`` records each value with a fingerprint of what decided it: weights, images
and the metric's options. A value whose fingerprint is still right is not computed again. The SR image lies beside it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ext_core.benchmark.sets import Place, TestSet, hash_of
from ext_core.benchmark.upscalers import Upscaler
from ext_core.errors import UserError, refusal
from ext_core.inference.evaluation import METRICS, measure, usable_metrics
from ext_core.saving.checkpoint import atomic_write_bytes, atomic_write_text
from ext_core.training.jobs import fingerprint

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
    record = _read_record(task.record)
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
        image, truth = _images(task, record)
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


def _images(task: Task, record: dict) -> tuple[np.ndarray, np.ndarray]:
    """The SR image, made or kept from before, and the true one, of the same size."""
    width, height = task.place.size
    image = _kept(task, record)
    if image is None:
        image = task.upscaler.render(task.place)
        if image.shape[:2] != (height, width):
            raise ValueError(f'the image is {image.shape[1]} x {image.shape[0]} instead of {width} x {height}')
        if task.upscaler.kept:
            data = cv2.imencode('.png', image)[1].tobytes()
            atomic_write_bytes(data, task.picture)
            record['picture'] = {'inputs': task.source, 'sha256': sha256(data).hexdigest()}
    return image, task.upscaler.truth(task.place)[:height, :width]


def _kept(task: Task, record: dict) -> np.ndarray | None:
    picture = record.get('picture', {})
    if not task.upscaler.kept or picture.get('inputs') != task.source or not task.picture.is_file():
        return None
    data = task.picture.read_bytes()
    if sha256(data).hexdigest() != picture['sha256']:
        return None  # of another run, which was stopped before it wrote its record
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def _read_record(path: Path) -> dict:
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        return record if isinstance(record['metrics'], dict) else {'metrics': {}}
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: measured anew
        return {'metrics': {}}


def _reason(error: Exception) -> str:
    text = str(error).strip().split('\n')[0]
    return text if refusal(error) is not None else f'{type(error).__name__}: {text}'


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
