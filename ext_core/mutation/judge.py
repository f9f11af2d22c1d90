"""What becomes of a damaged option file: reported, harmless, trained, or a failure of the check."""

import contextlib
import copy
import io
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from ext_core.errors import UserError
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.options.check import check_options
from ext_core.options.metrics import leave_out_metrics
from ext_core.options.positions import Positions
from ext_core.training import adaptation, adaptation_options

# what makes any recipe a matter of a second; demo.yml's words
SMALL = {
    'at_most': {
        'network_?:num_feat': 8,
        'network_?:num_block': 1,
        'network_?:num_grow_ch': 4,
        'network_?:num_group': 1,
        'network_?:num_conv': 2,
        'network_?:num_hidden': 8,
        'network_?:squeeze_factor': 2,
        'network_d:input_size': 128,
        'datasets:train:gt_size': 128,
        'datasets:train:batch_size_per_gpu': 2,
        'datasets:train:num_worker_per_gpu': 0,
        'datasets:val*:num_worker_per_gpu': 0,
        'train:pretrain_iters': 1,
        'train:autoencoder_iters': 1,
    },
    'whole_lr': ['datasets:train:gt_size'],
    'replace': {'path:pretrain_network_?': None, 'train:accumulate': 1, 'datasets:*:persistent_workers': False},
}


class Verdict(Enum):
    """The outcomes. The last four are failures."""

    REPORTED = 'reported by the check'
    HARMLESS = 'means the same as before'
    TRAINED = 'passes and trains'
    PASSED = 'passes, not tried'
    STOPPED = 'passes, then stops with a message'
    TRACEBACK = 'ends in a traceback'
    HANG = 'does not end in time'
    SILENT = 'a report without a message'


class Kind(Enum):
    """What option files are for."""

    TRAINING = 'basicsr/train.py'
    TEST = 'basicsr/test.py'
    STAGES = 'scripts/train_domain_adaptation.py'


class _OutOfTime(BaseException):
    """Past ``except Exception``."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise in the main thread when time is over."""

    def ring(number: int, frame: Any) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def kind_of(opt: dict) -> Kind:
    """What an option file is for."""
    if 'stage1' in opt:
        return Kind.STAGES
    return Kind.TRAINING if 'train' in (opt.get('datasets') or {}) else Kind.TEST


def checked(file: Path, root: Path, kind: Kind) -> tuple[dict, str]:
    """The options of a run as the launcher completes and checks them, of two stages the first one's; and what the file
    means, equal for files that mean the same. 1 and 1.0 differ, as do true and 1.

    Raises:
        UserError: If the check refuses them.
    """
    if kind is Kind.STAGES:
        files = adaptation.plan(root, file, (), False, None).files
        _, opt = adaptation_options.resolve(yaml_safe.parse(files['stage1.yml']), [], root)
        leave_out_metrics(opt)
        return opt, yaml_safe.dump(files)
    positions, is_train = Positions(), kind is Kind.TRAINING
    args = options.parse_arguments(['-opt', str(file)], is_train)
    _, opt = options.resolve(args, root, is_train, positions)
    check_options(opt, is_train, positions)
    leave_out_metrics(opt)
    return opt, yaml_safe.dump(opt)


def judge(file: Path, root: Path, kind: Kind, undamaged: str, seconds: float) -> tuple[Verdict, str, dict | None]:
    """Check a damaged file.

    Args:
        file (Path): The file.
        root (Path): Folder of results, as the launcher's.
        kind (Kind): What it is given to the launcher for.
        undamaged (str): What it meant before it was damaged, see :func:`checked`.
        seconds (float): Time that the check may take.

    Returns:
        tuple[Verdict, str, dict | None]: The verdict, the message or traceback, and the options of what passed.
    """
    found: list[tuple[dict, str]] = []
    verdict, message = _outcome(lambda: found.append(checked(file, root, kind)), seconds)
    if verdict is not Verdict.TRAINED:
        return (Verdict.REPORTED if verdict is Verdict.STOPPED else verdict), message, None
    opt, meaning = found[0]
    return (Verdict.HARMLESS, '', None) if meaning == undamaged else (Verdict.PASSED, '', opt)


def try_out(opt: dict, seconds: float) -> tuple[Verdict, str]:
    """Build and step a recipe that passed, made small; a test recipe evaluates its first set."""
    return _outcome(lambda: _steps(opt), seconds)


def _steps(opt: dict) -> None:
    from ext_core.launch import join_processes
    from ext_core.training import dry_run
    from ext_core.training.loaders import evaluation_loaders
    from ext_core.training.models import build_model, evaluate

    opt = copy.deepcopy(opt)
    options.apply_overlay(opt, SMALL)
    join_processes(opt, 'none')
    if opt['is_train']:
        model, _ = dry_run.iterate(opt)
    else:
        model = build_model(opt)
    for loader in evaluation_loaders(opt)[:1]:
        evaluate(model, loader, 2, None, False)


def _outcome(job: Callable[[], Any], seconds: float) -> tuple[Verdict, str]:
    quiet = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter('ignore')
            with time_limit(seconds):
                job()
    except UserError as error:
        message = str(error)
        return (Verdict.STOPPED if message.strip() and 'Traceback' not in message else Verdict.SILENT), message
    except _OutOfTime:
        return Verdict.HANG, traceback.format_exc()
    except (Exception, SystemExit):
        return Verdict.TRACEBACK, traceback.format_exc()
    return Verdict.TRAINED, ''
