"""A training and its evaluation as a job of a study."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ext_core.errors import UserError
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.saving.checkpoint import atomic_write_text
from ext_core.studies.evaluation import METRICS, Folders, usable_metrics
from ext_core.studies.jobs import Job, Step, fingerprint

EVALUATION = 'ext_core.studies.evaluation'  # a module with a command line


def keep_usable_metrics(opt: dict) -> tuple[dict[str, dict], dict[str, str]]:
    """Take out of ``val:metrics``, in place, what cannot be computed here; training would refuse to start.

    Returns:
        tuple[dict[str, dict], dict[str, str]]: Metrics to evaluate with: those of ``val``, or PSNR-Y,
        SSIM-Y, NIQE and LPIPS where it has none; and why others were left out.
    """
    val = opt.get('val') or {}
    usable, reasons = usable_metrics(val.get('metrics') or METRICS)
    if val.get('metrics'):
        val['metrics'] = usable
    return usable, reasons


def training_job(root: Path, opt: dict, sets: Mapping[str, Folders], output: Path, metrics: Mapping[str, dict]) -> Job:
    """Steps ``train`` and ``evaluate`` of one experiment.

    Args:
        root (Path): The project: has ``basicsr/train.py`` and gets ``experiments/``.
        opt (dict): Content of the option file, complete, with name and seed.
        sets (Mapping[str, Folders]): (HR, LR) folders to evaluate on, by name.
        output (Path): The study's folder. ``runs/<name>`` in it gets the option file (:func:`write_options`), logs, and
            ``result.json``, the product of ``evaluate``.
        metrics (Mapping[str, dict]): As ``val:metrics`` in an option file.

    Raises:
        UserError: If ``experiments/<name>`` holds a training with other options.
    """
    refuse_foreign_experiment(root, opt)
    experiment, folder = root / 'experiments' / opt['name'], output / 'runs' / opt['name']
    places = [f'{name}={gt}:{lq}' for name, (gt, lq) in sets.items()]
    train = [sys.executable, str(root / 'basicsr' / 'train.py'), '-opt', str(folder / 'options.yml'), '--auto_resume']
    evaluate = [sys.executable, '-m', EVALUATION, '--experiment', str(experiment), '--set', *places]
    evaluate += ['--metrics', json.dumps(metrics), '--output', str(folder / 'result.json')]
    steps = [
        Step('train', train, experiment / 'models' / 'net_g_latest.pth', fingerprint(training_part(opt))),
        Step('evaluate', evaluate, folder / 'result.json', fingerprint(places, metrics)),
    ]
    return Job(opt['name'], folder, steps)


def write_options(job: Job, opt: dict) -> None:
    """The option file that the job trains with."""
    job.folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(yaml_safe.dump(opt), job.folder / 'options.yml')


def result_of(job: Job) -> dict[str, dict[str, dict[str, float | None]]] | None:
    """Metrics of every image (set, metric, file name), or None while the job is not finished."""
    return None if job.pending() else json.loads(job.steps[-1].product.read_text(encoding='utf-8'))


def training_part(opt: dict) -> dict:
    """What decides the weights, as it is read back from a file; validation and logging do not."""
    part = {key: value for key, value in opt.items() if key not in ('val', 'logger')}
    part['datasets'] = {key: value for key, value in opt['datasets'].items() if key == 'train'}
    return yaml_safe.parse(yaml_safe.dump(part))


def refuse_foreign_experiment(root: Path, opt: dict) -> None:
    """An experiment of this name with other options must neither be continued nor taken for the result.

    Raises:
        UserError: If there is one, with the options that differ.
    """
    folder = root / 'experiments' / opt['name']
    file = folder / f'{opt["name"]}.yml'
    if not file.is_file() or not [*folder.glob('training_states/*.state'), *folder.glob('models/net_g_latest.pth')]:
        return
    there, ours = training_part(yaml_safe.read(file)), training_part(opt)
    paths = {*options.leaves(there), *options.leaves(ours)}
    differing = [path for path in sorted(paths) if _leaf(there, path) != _leaf(ours, path)]
    if differing:
        raise UserError(
            f'{folder} holds a training with other options ({", ".join(differing)}). Choose another name or '
            '--output, or move that folder away.'
        )


def _leaf(opt: dict, path: str) -> Any:
    """The value at a colon path; sections count by their leaves only."""
    place: Any = opt
    for key in path.split(':'):
        place = place.get(key, '') if isinstance(place, dict) else ''
    return {} if isinstance(place, dict) else place
