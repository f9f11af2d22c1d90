"""``--dry-run``: everything is checked and built, two iterations of each phase run, their cost is reported, nothing is
left behind."""

import contextlib
import math
import sys
import tempfile
import time
from typing import Any

import torch

from ext_core.errors import UserError
from ext_core.train.loaders import TrainingBatches, evaluation_loaders
from ext_core.train.models import build_model, explaining_first_step, networks_of
from ext_models.precision import processor_has_bf16


def run(opt: dict) -> int:
    """Try a recipe, and print what it takes.

    Args:
        opt (dict): Resolved and checked options, after ``launch.join_processes``.

    Returns:
        int: Exit status.
    """
    from ext_core.networks.complexity import multiply_adds, parameter_count

    with tempfile.TemporaryDirectory(prefix='basicsr_ext_dry_run_') as folder:
        opt['path'].update(
            dict.fromkeys(('experiments_root', 'models', 'log', 'training_states', 'visualization'), folder)
        )
        model, costs = iterate(opt)
    if opt['rank'] != 0:
        return 0
    lines = ['', f'Dry run of {opt["name"]}: options, data, networks and losses are in order.']
    inputs = {'net_g': model.lq, 'net_d': model.gt}
    for name, net in sorted(networks_of(model).items()):
        line = f'{name:6} {type(net).__name__}: {parameter_count(net):,} parameters'
        if name in inputs:
            shape = tuple(inputs[name].shape[1:])
            try:
                line += f', {multiply_adds(net, shape) / 1e9:.2f} GFLOPs (multiply-adds) for one {shape} image'
            except Exception as error:  # an operation that the counter does not know must not fail the dry run
                line += f', FLOPs unknown ({type(error).__name__})'
        lines.append(line)
    lines += (text for _, text in costs.values())
    if not torch.cuda.is_available() and hasattr(model, 'precision'):
        amp, able = opt['train'].get('amp'), processor_has_bf16()
        if able and not amp:
            lines.append(
                'This processor has bfloat16: train:amp: bf16 with channels_last: true takes about half the time.'
            )
        if amp and able is False:
            lines.append(f'This processor only imitates 16 bits: amp: {amp} may take longer than none.')
    print('\n'.join(lines))
    return 0


def phases_of(model: Any, total_iter: int) -> dict[str, range]:
    """The phases of a training, whose iterations do the same, each with one or two neighbouring ones to try.

    A model of ours may say by ``phase_ends()`` what comes before its last phase (name: last iteration), and by
    ``step_period`` after how many iterations of the last one its steps repeat: what not every iteration does, such as a
    generator's step with ``net_d_iters`` 5, is in the multiples, and the second one is such a multiple.
    """
    if hasattr(model, 'phase_ends'):
        ends = model.phase_ends()
    else:
        ends = {'discriminator alone': getattr(model, 'net_d_init_iters', 0)}
    period = getattr(model, 'step_period', getattr(model, 'net_d_iters', 1))
    found: dict[str, range] = {}
    done = 0
    for name, end in ends.items():
        end = min(int(end), total_iter)
        if end > done:
            found[name] = range(done + 1, min(done + 2, end) + 1)
            done = end
    if done < total_iter:
        second = min(math.ceil((done + 2) / period) * period, total_iter)
        name = 'adversarial' if getattr(model, 'net_d', None) is not None else 'training'
        found[name] = range(max(second - 1, done + 1), second + 1)
    return found


def iterate(opt: dict) -> tuple[Any, dict[str, tuple[range, str]]]:
    """Build everything and run two iterations of each phase.

    Returns:
        tuple[Any, dict[str, tuple[range, str]]]: The model; and of each phase what was tried, and what that took, in
            words. The peak of the process's memory is that of former phases, too, as the system keeps one peak only.

    Raises:
        UserError: If a step fails, or a loss is not finite.
    """
    training = TrainingBatches(opt)
    for loader in evaluation_loaders(opt):
        next(iter(loader))
    model = build_model(opt)
    on_gpu = torch.cuda.is_available()
    costs = {}
    with contextlib.closing(iter(training)) as batches:
        for phase, iterations in phases_of(model, int(opt['train']['total_iter'])).items():
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            first = iterations[0]
            if first > 1:
                # Schedules stand as before this iteration. Those that multiply from step to step keep their present
                # rate, which changes no cost.
                for scheduler in model.schedulers:
                    scheduler.last_epoch = first - 2
            seconds: list[float] = []
            gradients: list[str] = []
            for iteration in iterations:
                batch = next(batches)
                started = time.perf_counter()
                model.update_learning_rate(iteration, warmup_iter=opt['train'].get('warmup_iter', -1))
                step = 'the first training step' if first == 1 else f'iteration {iteration}, of phase {phase!r},'
                with explaining_first_step(model, first=True, step=step):
                    model.feed_data(batch)
                    model.optimize_parameters(iteration)
                values = model.get_current_log()  # waits for the device
                seconds.append(time.perf_counter() - started)
                gradients += model.gradient_report() if hasattr(model, 'gradient_report') else []
                bad = [name for name, value in values.items() if not math.isfinite(value)]
                if bad:
                    raise UserError(
                        f'--dry-run: loss {", ".join(bad)} is not finite in iteration {iteration} (phase: {phase}).'
                    )
            memory = math.nan
            with contextlib.suppress(ImportError):  # Windows, where Python does not tell it
                import resource

                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                memory = peak / (2**20 if sys.platform == 'darwin' else 2**10)  # bytes there, else KiB
            gpu = f', peak GPU memory: {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB' if on_gpu else ''
            warm_up = f'first, with warm-up: {seconds[0]:.3f}' if len(seconds) > 1 else 'with warm-up'
            norms, *doubts = gradients or ['']
            line = (
                f'{phase}, iterations {", ".join(map(str, iterations))}: seconds per iteration: '
                f'{seconds[-1]:.3f} ({warm_up}){gpu}, peak process memory: {memory:,.0f} MiB; losses: '
                f'{", ".join(name for name in values if name.startswith("l_"))}'
            )
            lines = [line, *([f'  {norms}'] if norms else []), *(f'  warning: {doubt}' for doubt in doubts)]
            costs[phase] = iterations, '\n'.join(lines)
    return model, costs
