"""``--dry-run``: everything is checked and built, two iterations run, the cost is reported, nothing is left behind."""

import math
import resource
import tempfile
import time

from ext_core.errors import UserError

ITERATIONS = 2


def run(opt: dict, launcher: str) -> int:
    """Try a recipe.

    Args:
        opt (dict): Resolved and checked options.
        launcher (str): As on the command line.

    Returns:
        int: Exit status.
    """
    from ext_core.launch import join_processes

    join_processes(opt, launcher)
    with tempfile.TemporaryDirectory(prefix='basicsr_ext_dry_run_') as folder:
        opt['path'].update(
            dict.fromkeys(('experiments_root', 'models', 'log', 'training_states', 'visualization'), folder)
        )
        model, seconds = _iterate(opt)
        if opt['rank'] == 0:
            print(_report(opt, model, seconds))
    return 0


def _iterate(opt: dict) -> tuple:
    from ext_core.training.loaders import TrainingBatches, evaluation_loaders
    from ext_core.training.models import build_model, explaining_first_step

    batches = TrainingBatches(opt)
    for loader in evaluation_loaders(opt):
        next(iter(loader))
    model = build_model(opt)
    seconds = []
    for iteration, batch in zip(range(1, ITERATIONS + 1), batches, strict=False):
        started = time.perf_counter()
        model.update_learning_rate(iteration, warmup_iter=opt['train'].get('warmup_iter', -1))
        with explaining_first_step(model, first=iteration == 1):
            model.feed_data(batch)
            model.optimize_parameters(iteration)
        values = model.get_current_log()  # waits for the device
        seconds.append(time.perf_counter() - started)
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise UserError(f'--dry-run: loss {", ".join(bad)} is not finite after {ITERATIONS} iterations.')
    return model, seconds


def _report(opt: dict, model, seconds: list[float]) -> str:
    import torch

    from ext_core.benchmark.complexity import multiply_adds, parameter_count

    lines = ['', f'Dry run of {opt["name"]}: options, data, networks and losses are in order.']
    inputs = {'net_g': model.lq, 'net_d': model.gt}
    for name in sorted(vars(model)):
        net = getattr(model, name)
        if not (name.startswith('net_') and isinstance(net, torch.nn.Module)) or name.endswith('_ema'):
            continue
        net = model.get_bare_model(net)
        line = f'{name:6} {type(net).__name__}: {parameter_count(net):,} parameters'
        if name in inputs:
            shape = tuple(inputs[name].shape[1:])
            try:
                line += f', {multiply_adds(net, shape) / 1e9:.2f} GFLOPs (multiply-adds) for one {shape} image'
            except Exception as error:  # an operation that the counter does not know must not fail the dry run
                line += f', FLOPs unknown ({type(error).__name__})'
        lines.append(line)
    if torch.cuda.is_available():
        lines.append(f'peak GPU memory: {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB')
    lines.append(f'peak process memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB')
    lines.append(f'seconds per iteration: {seconds[-1]:.3f} (first, with warm-up: {seconds[0]:.3f})')
    return '\n'.join(lines)
