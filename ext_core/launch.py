"""``basicsr/train.py`` and ``basicsr/test.py``: from the command line to a finished run."""

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from ext_core.errors import UserError, open_streams, print_line, refusal
from ext_core.options.first_look import first_look
from ext_core.options.positions import Positions
from ext_core.registration import register_all


def train(root: Path, argv: list[str] | None = None) -> int:
    """Train as the command line says; returns the exit status. ``root`` gets ``experiments/`` and ``tb_logger/``."""
    return _run(_train, root, argv)


def test(root: Path, argv: list[str] | None = None) -> int:  # noqa: PT028  # not a pytest function
    """Evaluate as the command line says; results go to ``root/results``. Arguments and result as :func:`train`."""
    return _run(_test, root, argv)


def _run(job: Callable[[Path, list[str] | None], int], root: Path, argv: list[str] | None) -> int:
    """Errors that a user can mend end in one message, others in a traceback.

    Of several processes the first one that fails says so, and to torchrun, too; then torchrun ends the others, as
    ``srun --kill-on-bad-exit=1`` does under Slurm.
    """
    open_streams()
    error: BaseException
    try:
        status = job(Path(root), argv)
        if group := _group():
            group.barrier()  # nobody leaves while another one needs it
            group.destroy_process_group()
        return status
    except KeyboardInterrupt as failure:
        error, message, status = failure, 'interrupted', 130
    except Exception as failure:
        refused = refusal(failure)
        if refused is None and not _group():
            raise
        if refused is not None and 'EXT_CORE_TRACEBACK' in os.environ:  # for developers
            traceback.print_exc()
        error, message, status = failure, refused or traceback.format_exc().strip(), 1

    joined, rank = _group(), int(os.environ.get('RANK', '0'))
    summary = message.splitlines()[-1 if message.startswith('Traceback') else 0]
    consequence = joined and _lost_peer(error)
    if consequence:
        message = f'another process has ended, and this one cannot go on without it ({summary})'
    # what fails before joining fails on every rank alike, so one on each machine tells
    tells = joined or rank == 0 or os.environ.get('LOCAL_RANK') == '0'
    if joined:
        with suppress(RuntimeError):  # the process that keeps the store has ended
            tells = joined.distributed_c10d._get_default_store().add('failed', 1) == 1
    if tells or joined:
        what = f'error: {message}' if tells else 'stopped, because another process has failed'
        print_line(f'[rank {rank}] {what}' if rank else what)
    if tells and not consequence:
        if path := os.environ.get('TORCHELASTIC_ERROR_FILE'):  # goes into the table that torchrun prints at its end
            content = {'message': {'message': summary, 'extraInfo': {'timestamp': str(int(time.time()))}}}
            with suppress(OSError):
                Path(path).write_text(json.dumps(content), encoding='utf-8')
    elif joined:
        time.sleep(1)  # so that torchrun meets the other one first, and takes it for the cause
    if joined:
        # At once: the interpreter would wait for what is left on the GPU or in collectives, which may never finish,
        # and torchrun for the interpreter.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _group() -> Any:
    """torch.distributed if this process has joined others; an error in the option file need not wait for torch."""
    dist = sys.modules.get('torch.distributed')
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def _lost_peer(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, is that of a collective which another process has left by ending."""
    while error is not None:
        if any(words in str(error) for words in ('closed by peer', 'reset by peer', 'Broken pipe', 'process exited')):
            return True
        error = error.__cause__ or error.__context__
    return False


def _options(root: Path, argv: list[str] | None, is_train: bool) -> tuple[argparse.Namespace, dict, dict, Positions]:
    """The command line; the options as they are merged, and with all that follows from them; where they stand."""
    from ext_core.options import loading as options

    args = options.parse_arguments(argv, is_train)
    if args.launcher == 'none' and int(os.environ.get('WORLD_SIZE', '1')) > 1:
        raise UserError(
            'several processes were started, by torchrun for instance, but each would train alone and move the '
            "others' results away. Add --launcher pytorch."
        )
    # at once what needs no torch to be seen; importing it takes longer than most people read
    if os.environ.get('RANK', '0') == '0' and args.launcher != 'slurm':
        overridden = [entry.partition('=')[0].strip() for entry in args.force_yml]
        for line in first_look(args.opt, overridden):
            print_line(f'first look: {line}')
    positions = Positions()
    return args, *options.resolve(args, root, is_train=is_train, positions=positions), positions


def _train(root: Path, argv: list[str] | None) -> int:
    # the options, checked before anything is made or moved
    args, merged, opt, positions = _options(root, argv, is_train=True)
    if args.dry_run:
        demo = Path.cwd() / 'datasets' / 'demo'
        new = [folder for folder in (demo, demo.parent) if not folder.exists()]
        try:
            _prepare(opt, args, positions)
            from ext_core.train import dry_run

            join_processes(opt, args.launcher)
            return dry_run.run(opt)
        finally:
            for folder in new:
                shutil.rmtree(folder, ignore_errors=True)
    log_first = _prepare(opt, args, positions)

    import torch
    from basicsr.train import init_tb_loggers
    from basicsr.utils import mkdir_and_rename

    from ext_core.atomic import atomic_write_text
    from ext_core.options.yaml_safe import dump
    from ext_core.train.in_use import in_use
    from ext_core.train.resume import compare_options, forget_from, load_resume_state, make_folders
    from ext_core.train.trainer import Trainer

    # the processes, and what they continue from
    join_processes(opt, args.launcher)
    torch.backends.cudnn.benchmark = True

    def say(line: str) -> None:
        log_first.append(line)  # the log is opened later, in a folder that is made later
        print(line, flush=True)

    curves = Path(opt['root_path']) / 'tb_logger' / opt['name']
    with_curves = bool(opt['logger'].get('use_tb_logger')) and 'debug' not in opt['name']
    folders = [Path(opt['path']['experiments_root']), *([curves] if with_curves else [])]
    with in_use(*(folders if opt['rank'] == 0 else [])):
        resume_state = load_resume_state(opt, say)
        if resume_state is not None and merged.get('manual_seed') is None:
            opt['manual_seed'] = resume_state.get('ext', {}).get('manual_seed', opt['manual_seed'])

        if resume_state is not None:
            compare_options(opt, merged, resume_state, say)

        logger = open_log(opt, log_first)
        with contextlib.closing(Trainer(opt, logger)) as trainer:
            if resume_state is None:  # what the first step reveals is revealed before an earlier experiment is moved
                trainer.first_step()
            goes_on = make_folders(opt, resume_state)
            keep_log(logger, opt, 'train')
            if opt['rank'] == 0:
                file = Path(opt['path']['experiments_root']) / f'{opt["name"]}.yml'
                atomic_write_text(dump(merged | {'manual_seed': opt['manual_seed']}), file)
            if with_curves and opt['rank'] == 0 and not goes_on:
                mkdir_and_rename(str(curves))
            tb_logger = init_tb_loggers(opt)  # on rank 0, with wandb where asked for; None elsewhere
            if goes_on:
                forget_from(tb_logger, resume_state['iter'] + 1 if resume_state else 1)
            try:
                if resume_state is not None:
                    trainer.resume(resume_state)
                return trainer.run(tb_logger)
            finally:
                if tb_logger:
                    tb_logger.close()


def _prepare(opt: dict, args, positions: Positions) -> list[str]:
    """Embedded data for ``--demo``; then every check, before anything is made or moved.

    Returns:
        list[str]: What this run does without or may not mean, for its log; the first process prints it here already.
    """
    register_all()
    from ext_core.options.check import check_options, find_warnings
    from ext_core.options.metrics import leave_out_metrics

    if args.demo:
        from ext_data.preparation.demo import ensure_demo_data

        ensure_demo_data(Path.cwd(), opt['scale'])
    check_options(opt, opt['is_train'], positions)
    warnings = leave_out_metrics(opt) + find_warnings(opt, positions)
    if os.environ.get('RANK', '0') == '0':
        for warning in warnings:
            print_line(f'warning: {warning}')
    return warnings


def _test(root: Path, argv: list[str] | None) -> int:
    args, _, opt, positions = _options(root, argv, is_train=False)
    warnings = _prepare(opt, args, positions)

    import torch
    from basicsr.utils import make_exp_dirs

    from ext_core.train.in_use import in_use
    from ext_core.train.loaders import evaluation_loaders
    from ext_core.train.models import build_model, evaluate

    join_processes(opt, args.launcher)
    with in_use(*([Path(opt['path']['results_root'])] if opt['rank'] == 0 else [])):
        logger = open_log(opt, warnings)
        model, loaders = build_model(opt), evaluation_loaders(opt)
        make_exp_dirs(opt)
        if opt['dist']:
            torch.distributed.barrier()  # rank 0 has moved earlier results away, now all may write
        keep_log(logger, opt, 'test')
        for loader in loaders:
            name = loader.dataset.opt['name']  # type: ignore[attr-defined]
            logger.info(f'Testing {name}...')
            evaluate(model, loader, opt['name'], None, opt['val']['save_img'])
        logger.info(f'Results are in {opt["path"]["results_root"]}')
        return 0


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
    if opt.get('manual_seed') is None:
        seed = [random.randint(1, 10000)]
        if opt['dist']:
            torch.distributed.broadcast_object_list(seed)  # all ranks shuffle alike
        opt['manual_seed'] = seed[0]
    set_random_seed(opt['manual_seed'] + opt['rank'])


def open_log(opt: dict, warnings: Iterable[str] = ()) -> logging.Logger:
    """BasicSR's root logger, which begins with the options and the warnings. It writes to the terminal, and on the
    first process keeps its lines in memory until :func:`keep_log` says where the file is to be."""
    from basicsr.utils import get_env_info, get_root_logger
    from basicsr.utils.options import dict2str

    logger = get_root_logger()
    for of_former_run in [handler for handler in logger.handlers if isinstance(handler, MemoryHandler | _LogFile)]:
        logger.removeHandler(of_former_run)
        of_former_run.close()
    if opt['rank'] == 0:
        logger.setLevel(logging.INFO)
        logger.addHandler(MemoryHandler(sys.maxsize, flushLevel=logging.CRITICAL + 1, flushOnClose=False))
    logger.info(get_env_info())
    logger.info(dict2str(opt))
    for warning in warnings:
        logger.warning(warning)
    return logger


class _LogFile(logging.FileHandler):
    """The log in an experiment's folder."""


def keep_log(logger: logging.Logger, opt: dict, kind: str) -> None:
    """Write what was logged so far, and is from now on, into the log folder, which is there now."""
    from basicsr.utils import get_time_str

    for memory in [handler for handler in logger.handlers if isinstance(handler, MemoryHandler)]:
        file = _LogFile(Path(opt['path']['log']) / f'{kind}_{opt["name"]}_{get_time_str()}.log', 'a')
        file.setFormatter(logger.handlers[0].formatter)
        memory.setTarget(file)
        memory.flush()
        memory.close()
        logger.removeHandler(memory)
        logger.addHandler(file)
