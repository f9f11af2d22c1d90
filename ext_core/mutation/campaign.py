"""Damage option files by the hundred, each in a process and a folder of its own, and count what becomes of them."""

import contextlib
import os
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from shutil import copytree

import torch
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
)

from ext_core.errors import UserError
from ext_core.mutation import judge, world
from ext_core.mutation.damages import Damage, Damager
from ext_core.mutation.judge import Verdict
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.training import adaptation_options

FAILURES = (Verdict.STOPPED, Verdict.TRACEBACK, Verdict.HANG, Verdict.SILENT)
_SCHEDULES = ['MultiStepLR', 'CosineAnnealingRestartLR', 'LinearDecayLR', 'StepLR', 'ReduceLROnPlateau']
_OPTIMIZERS = ['Adam', 'AdamW', 'SGD', 'RMSprop', 'LBFGS']


@dataclass
class Plan:
    """What to do to each file.

    Attributes:
        damages (int): Damages to a file.
        seed (int): Of the damages. A file's depend on it, on the file's name and on nothing else.
        tries (int): Of those that pass the check, so many of each file are built and trained for two iterations.
        check_seconds (float): Longer is a hang.
        try_seconds (float): The same for building and training.
    """

    damages: int = 200
    seed: int = 0
    tries: int = 5
    check_seconds: float = 60.0
    try_seconds: float = 120.0


@dataclass
class Failure:
    """A damage that the check did not handle."""

    file: str
    damage: str
    verdict: str
    message: str


@dataclass
class Result:
    """The damages to one file."""

    file: str
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0


# ---------------------------------------------------------------------- files
def recipes(folder: Path) -> dict[Path, Path]:
    """Option files below a folder, each with the complete file by which it is judged: itself or, of one that others
    inherit, the first of those. Files that are neither, such as overlays, are left out."""
    files = sorted(folder.rglob('*.yml'))
    complete = [file for file in files if _is_complete(_loaded(file))]
    heirs = {file: file for file in complete}
    for file in complete:
        for base in _bases(file):
            heirs.setdefault(base, file)
    return dict(sorted(heirs.items()))


def _is_complete(opt: dict) -> bool:
    return {'model_type', 'datasets', 'name'} <= set(opt) or isinstance(opt.get('stage1'), str)


def _loaded(file: Path) -> dict:
    try:
        return options.load(file)
    except UserError:  # a file for something else
        return {}


def _bases(file: Path) -> Iterator[Path]:
    given = yaml_safe.read(file).get('_base_', [])
    for base in [given] if isinstance(given, str) else given:
        path = Path(os.path.normpath(file.parent / base))
        yield path
        yield from _bases(path)


# ---------------------------------------------------------------------- running
@contextlib.contextmanager
def prepared(folder: Path, files: Iterable[Path]) -> Iterator[Path]:
    """A temporary folder with stand-ins for the images and weights that these option files below ``folder`` name."""
    with tempfile.TemporaryDirectory(prefix='mutate_options_') as place:
        home = Path(place) / 'stand_ins' / 'main'
        home.mkdir(parents=True)
        heirs = recipes(folder)
        wanted: dict[str, dict] = {}
        for file in {heirs[file] for file in files}:
            wanted |= _trainings(file)
        world.build(home, wanted, lambda name: _named(folder, name))
        yield home


@cache
def _named(folder: Path, name: str) -> dict:
    """The options of the experiment of a name, {} where no option file has it."""
    loaded = (_loaded(file) for file in sorted(folder.rglob(f'*{name.partition("_")[2]}.yml')))
    return next((opt for opt in loaded if opt.get('name') == name), {})


def _trainings(file: Path) -> dict[str, dict]:
    """The options of an option file, or of the stages that it leads to, by the experiment's name."""
    opt = options.load(file)
    if judge.kind_of(opt) is not judge.Kind.STAGES:
        return {opt['name']: opt}
    opt = adaptation_options.load(file)
    return {f'{opt["name"]}_{number}': adaptation_options.stage_options(opt, number, False) for number in (1, 2)}


def run(folder: Path, files: Sequence[Path], plan: Plan, jobs: int, home: Path) -> Iterator[Result]:
    """Damage files, and yield each one's result as soon as it is there.

    Args:
        folder (Path): The folder of option files.
        files (Sequence[Path]): Those of :func:`recipes` to damage.
        plan (Plan): What to do to each.
        jobs (int): Processes. With 1 all is done in this one.
        home (Path): From :func:`prepared`.
    """
    heirs = recipes(folder)
    tasks = [(folder, file.relative_to(folder), heirs[file].relative_to(folder), plan, home) for file in files]
    if jobs == 1:
        yield from (damage_file(*task) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context('fork')) as pool:
        for future in as_completed([pool.submit(damage_file, *task) for task in tasks]):
            yield future.result()


@contextlib.contextmanager
def _own_folder(folder: Path, home: Path) -> Iterator[Path]:
    """A current folder with a copy of the option files, where relative paths lead to the stand-ins."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(dir=home.parents[1]) as place:
        own = Path(place) / 'main'
        own.mkdir()
        for entry in home.iterdir():
            (own / entry.name).symlink_to(entry)
        for entry in home.parent.iterdir():
            if entry != home:
                (own.parent / entry.name).symlink_to(entry)
        copytree(folder, own / 'options')
        os.chdir(own)
        try:
            yield own
        finally:
            os.chdir(before)


def damage_file(folder: Path, file: Path, heir: Path, plan: Plan, home: Path) -> Result:
    """Damage one file as often as planned.

    Raises:
        UserError: If the file has problems before it is damaged.
    """
    import time

    torch.set_num_threads(1)
    started, result = time.monotonic(), Result(str(file))
    generator = random.Random(f'{plan.seed} {file}')
    with _own_folder(folder, home):
        path, judged = Path('options') / file, Path('options') / heir
        text = path.read_text(encoding='utf-8')
        kind = judge.kind_of(options.load(judged))
        _, undamaged = judge.checked(judged, Path.cwd(), kind)
        damager = Damager(text, _type_names())
        passed: list[tuple[Damage, dict]] = []
        for _ in range(plan.damages):
            damage = damager.damage(generator)
            path.write_text(damage.text, encoding='utf-8')
            verdict, message, opt = judge.judge(judged, Path.cwd(), kind, undamaged, plan.check_seconds)
            _count(result, damage, verdict, message)
            if opt is not None:
                passed.append((damage, opt))
        path.write_text(text, encoding='utf-8')
        for damage, opt in generator.sample(passed, min(plan.tries, len(passed))):
            result.counts[Verdict.PASSED.name] -= 1
            _count(result, damage, *judge.try_out(opt, plan.try_seconds))
    result.seconds = time.monotonic() - started
    return result


def _count(result: Result, damage: Damage, verdict: Verdict, message: str) -> None:
    result.counts[verdict.name] = result.counts.get(verdict.name, 0) + 1
    if verdict in FAILURES:
        result.failures.append(Failure(result.file, f'{damage.kind}: {damage.what}', verdict.name, message))


def _type_names() -> list[str]:
    registries = (ARCH_REGISTRY, LOSS_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY)
    names = [name.removesuffix('_basicsr') for registry in registries for name, _ in registry]
    return sorted({*names, *_SCHEDULES, *_OPTIMIZERS})
