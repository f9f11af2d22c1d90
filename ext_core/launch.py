"""``basicsr/train.py`` and ``basicsr/test.py``: from the command line to a finished run."""

import os
import random
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ext_core.errors import UserError, print_line, refusal
from ext_core.options.positions import Positions
from ext_core.registration import register_all
from ext_core.training.lifeline import Lifeline, tell_torchrun

_lifeline: Lifeline | None = None  # to the other processes, once they have joined


def train(root: Path, argv: list[str] | None = None) -> int:
    """Train as the command line says.

    Args:
        root (Path): Folder that gets ``experiments/`` and ``tb_logger/``.
        argv (list[str] | None): Arguments without the program's name. Default: those of the process.

    Returns:
        int: Exit status.
    """
    return _run(_train, root, argv)


def test(root: Path, argv: list[str] | None = None) -> int:  # noqa: PT028  # not a pytest function
    """Evaluate as the command line says; results go to ``root/results``. Arguments and result as :func:`train`."""
    return _run(_test, root, argv)


def _run(job: Callable[[Path, list[str] | None], int], root: Path, argv: list[str] | None) -> int:
    """Errors that a user can mend end in one message, others in a traceback: once, whatever the number of ranks."""
    import torch.distributed as dist

    try:
        status = job(Path(root), argv)
        if _lifeline:
            _lifeline.leave()
    except KeyboardInterrupt as error:
        status = _failed(error, 'interrupted', 130)
    except Exception as error:
        message = refusal(error)
        if message is None and _lifeline is None:
            raise
        if message is not None and 'EXT_CORE_TRACEBACK' in os.environ:  # for developers
            traceback.print_exc()
        status = _failed(error, message or traceback.format_exc().strip(), 1)
    finally:  # not reached by a rank that failed: with work left over in the group, this may wait for ever
        if dist.is_initialized():
            dist.destroy_process_group()
    return status


def _failed(error: BaseException, message: str, status: int) -> int:
    """Show an error, unless it follows from another rank's. A rank among several ends here."""
    import torch.distributed as dist

    rank = int(os.environ.get('RANK', '0'))
    summary = message.splitlines()[-1 if message.startswith('Traceback') else 0]
    # what fails before joining fails on every rank alike, so one on each machine tells
    tells = dist.is_initialized() or rank == 0 or os.environ.get('LOCAL_RANK') == '0'
    if tells and (_lifeline is None or _lifeline.is_first(error, summary)):
        print_line(f'{f"[rank {rank}] " if rank else ""}error: {message}')
        tell_torchrun(summary)
    if _lifeline:
        _lifeline.end(status)
    return status


def _train(root: Path, argv: list[str] | None) -> int:
    register_all()
    from ext_core.options import loading as options
    from ext_core.training import dry_run

    args = options.parse_arguments(argv, is_train=True)
    _check_launcher(args.launcher)
    positions = Positions()
    merged, opt = options.resolve(args, root, is_train=True, positions=positions)
    if args.dry_run:
        with _without_traces(Path.cwd() / 'datasets' / 'demo'):
            _prepare(opt, args, positions)
            return dry_run.run(opt, args.launcher)
    warnings = _prepare(opt, args, positions)
    return start_training(opt, merged, args.launcher, warnings)


@contextmanager
def _without_traces(folder: Path) -> Iterator[None]:
    """Remove a folder at the end, and the one around it, where they were not there at the start."""
    new = [place for place in (folder, folder.parent) if not place.exists()]
    try:
        yield
    finally:
        for place in new:
            shutil.rmtree(place, ignore_errors=True)


def _prepare(opt: dict, args, positions: Positions) -> list[str]:
    """Embedded data for ``--demo``; then every check, before anything is made or moved.

    Returns:
        list[str]: What this run does without or may not mean, for its log; the first process prints it here already.
    """
    from ext_core.options.check import check_options, find_warnings
    from ext_core.options.metrics import leave_out_metrics

    if args.demo:
        from ext_data.preparation.demo import ensure_demo_data

        ensure_demo_data(Path.cwd(), opt['scale'])
    check_options(opt, opt['is_train'], positions)
    warnings = leave_out_metrics(opt) + (find_warnings(opt, positions) if opt['is_train'] else [])
    if os.environ.get('RANK', '0') == '0':
        for warning in warnings:
            print_line(f'warning: {warning}')
    return warnings


def start_training(opt: dict, merged: dict, launcher: str, warnings: Iterable[str] = ()) -> int:
    """Train with checked options: join the other processes, make the folders, run; ``warnings`` go into the log."""
    import torch

    from ext_core.options.yaml_safe import dump
    from ext_core.saving.checkpoint import atomic_write_text
    from ext_core.saving.curves import forget_from
    from ext_core.saving.experiment_folder import make_folders
    from ext_core.saving.resume import load_resume_state
    from ext_core.training.trainer import Trainer

    join_processes(opt, launcher)
    torch.backends.cudnn.benchmark = True
    skipped: list[str] = []

    def say(line: str) -> None:
        skipped.append(line)
        print(line, flush=True)

    resume_state = load_resume_state(opt, say)
    if resume_state is not None and merged.get('manual_seed') is None:
        opt['manual_seed'] = resume_state.get('ext', {}).get('manual_seed', opt['manual_seed'])
    goes_on = make_folders(opt, resume_state)
    if opt['rank'] == 0:
        atomic_write_text(
            dump(merged | {'manual_seed': opt['manual_seed']}),
            Path(opt['path']['experiments_root']) / f'{opt["name"]}.yml',
        )
    logger = open_log(opt, 'train', [*warnings, *skipped])
    tb_logger = _tensorboard(opt, fresh=not goes_on)
    if goes_on:
        forget_from(tb_logger, resume_state['iter'] + 1 if resume_state else 1)
    try:
        return Trainer(opt, logger, tb_logger, resume_state).run()
    finally:
        if tb_logger:
            tb_logger.close()


def _test(root: Path, argv: list[str] | None) -> int:
    register_all()
    import torch
    from basicsr.utils import make_exp_dirs

    from ext_core.options import loading as options
    from ext_core.training.loaders import evaluation_loaders
    from ext_core.training.models import build_model, evaluate

    args = options.parse_arguments(argv, is_train=False)
    _check_launcher(args.launcher)
    positions = Positions()
    _, opt = options.resolve(args, root, is_train=False, positions=positions)
    warnings = _prepare(opt, args, positions)
    join_processes(opt, args.launcher)
    make_exp_dirs(opt)
    if opt['dist']:
        torch.distributed.barrier()  # rank 0 has moved earlier results away, now all may write
    logger = open_log(opt, 'test', warnings)
    model = build_model(opt)
    for loader in evaluation_loaders(opt):
        name = loader.dataset.opt['name']  # type: ignore[attr-defined]
        logger.info(f'Testing {name}...')
        evaluate(model, loader, opt['name'], None, opt['val']['save_img'])
    logger.info(f'Results are in {opt["path"]["results_root"]}')
    return 0


def _check_launcher(launcher: str) -> None:
    if launcher == 'none' and int(os.environ.get('WORLD_SIZE', '1')) > 1:
        raise UserError(
            'several processes were started, by torchrun for instance, but each would train alone and move the '
            "others' results away. Add --launcher pytorch."
        )


def join_processes(opt: dict, launcher: str) -> None:
    """Start distributed training where a launcher is given, and seed this process."""
    import torch
    from basicsr.utils import set_random_seed
    from basicsr.utils.dist_util import get_dist_info, init_dist

    if launcher != 'none':
        params = dict(opt.get('dist_params') or {}) if launcher == 'slurm' else {}
        if opt['num_gpu'] == 0:
            params['backend'] = 'gloo'  # nccl moves tensors of the GPU only
        init_dist(launcher, **params)
    opt['rank'], opt['world_size'] = get_dist_info()
    if opt['world_size'] > 1:
        global _lifeline
        _lifeline = Lifeline(opt['rank'], opt['world_size'])
    if opt.get('manual_seed') is None:
        seed = [random.randint(1, 10000)]
        if opt['dist']:
            torch.distributed.broadcast_object_list(seed)  # all ranks shuffle alike
        opt['manual_seed'] = seed[0]
    set_random_seed(opt['manual_seed'] + opt['rank'])


def open_log(opt: dict, kind: str, warnings: Iterable[str] = ()):
    """BasicSR's root logger, writing to the terminal and into the experiment's folder; it begins with the warnings."""
    from basicsr.utils import get_env_info, get_root_logger, get_time_str
    from basicsr.utils.options import dict2str

    log_file = Path(opt['path']['log']) / f'{kind}_{opt["name"]}_{get_time_str()}.log'
    logger = get_root_logger(log_file=str(log_file))
    logger.info(get_env_info())
    logger.info(dict2str(opt))
    for warning in warnings:
        logger.warning(warning)
    return logger


def _tensorboard(opt: dict, fresh: bool):
    """The TensorBoard writer on rank 0, with wandb where asked for; None elsewhere."""
    from basicsr.train import init_tb_loggers
    from basicsr.utils import mkdir_and_rename

    folder = Path(opt['root_path']) / 'tb_logger' / opt['name']
    if opt['logger'].get('use_tb_logger') and 'debug' not in opt['name'] and opt['rank'] == 0 and fresh:
        mkdir_and_rename(str(folder))
    return init_tb_loggers(opt)
