"""``net_g_best.pth``: the network of the best validation by ``val:save_best``, and the best results of a run."""

from pathlib import Path
from typing import Any

from basicsr.utils import get_root_logger

from ext_core.saving.checkpoint import atomic_write_bytes
from ext_core.saving.writer import CheckpointWriter

_FILE = 'net_g_best.pth'


def save(model: Any, opt: dict, dataset: str, iteration: int, writer: CheckpointWriter) -> None:
    """Save the generator if the validation of this iteration is the best so far.

    Its best value is part of the training state, so a resumed run goes on comparing. As everywhere in BasicSR, equal is
    as good as better.

    Args:
        model (BaseModel): It has just validated.
        opt (dict): Options of the run.
        dataset (str): Name of the validation set that decides: the first of the option file.
        iteration (int): The current one.
        writer (CheckpointWriter): Writes the network, and its figures beside it.
    """
    metric = opt['val'].get('save_best')
    best = getattr(model, 'best_metric_results', {}).get(dataset, {}).get(metric)  # on rank 0 only
    if metric is None or best is None or best['iter'] != iteration:
        return
    nets = {'params': model.net_g}
    if hasattr(model, 'net_g_ema'):
        nets['params_ema'] = model.net_g_ema
    model.save_network(list(nets.values()), 'net_g', 'best', list(nets))
    figures = {'dataset': dataset, 'metric': metric, 'value': float(best['val'])}
    writer.note(Path(opt['path']['models']) / _FILE, {'iter': iteration, **figures})
    get_root_logger().info(f'Best {metric} on {dataset} so far, {best["val"]:.4f}: saved as {_FILE}.')


def results_of(model: Any) -> dict:
    """Best metrics of a model, without NumPy numbers, which a safe load of the state would refuse."""
    return {
        dataset: {
            metric: {'better': r['better'], 'val': float(r['val']), 'iter': int(r['iter'])}
            for metric, r in metrics.items()
        }
        for dataset, metrics in getattr(model, 'best_metric_results', {}).items()
    }


def restore_results(model: Any, opt: dict, best: dict) -> None:
    """Give a model the best metrics of a former part of the run, as far as the options still ask for them."""
    wanted = {*((opt.get('val') or {}).get('metrics') or {}), *getattr(model, 'VALIDATION_FIGURES', ())}
    for dataset, results in best.items():
        kept = {name: result for name, result in results.items() if name in wanted}
        if kept:
            model._initialize_best_metric_results(dataset)
            model.best_metric_results[dataset].update(kept)


def bring_along(opt: dict) -> None:
    """Copy the best network so far, where the run continues from the state of another experiment."""
    here = Path(opt['path']['models'])
    there = Path(opt['path']['resume_state']).resolve().parents[1] / 'models'
    if opt['rank'] == 0 and (opt.get('val') or {}).get('save_best') and not (here / _FILE).is_file():
        for file in (there / _FILE, (there / _FILE).with_suffix('.json')):
            if file.is_file():
                atomic_write_bytes(file.read_bytes(), here / file.name)
