"""The metrics of ``val:metrics``, and the one by which the best network is kept."""

import inspect
from collections.abc import Iterator
from typing import Any

from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.utils.registry import DATASET_REGISTRY, METRIC_REGISTRY

from ext_core.check.hints import call_problems, did_you_mean, look_up, section, unknown_type
from ext_core.check.trials import trial

_METRIC_IMAGES = ('img', 'img2')


def problems(opt: dict) -> Iterator[str]:
    """Metrics that are not there, or do not take their arguments or the images of a dataset."""
    without_gt = [
        phase for phase in section(opt, 'datasets') if _is_without_gt(section(opt, 'datasets', phase).get('type'))
    ]
    metrics = section(opt, 'val').get('metrics')
    if metrics is not None and not isinstance(metrics, dict):
        yield f"val:metrics must be a section of metrics by name, but is '{metrics}'."
    for key, options in section(opt, 'val', 'metrics').items():
        where = f'val:metrics:{key}'
        name = options.get('type') if isinstance(options, dict) else None
        metric = look_up(METRIC_REGISTRY, name)
        if metric is None:
            yield unknown_type(where, name, 'metric', METRIC_REGISTRY)
            continue
        faults = list(call_problems(where, metric, _metric_arguments(options), _METRIC_IMAGES))
        yield from faults
        if not faults and not options.get('optional'):
            yield from _metric_trial(where, options)
        border = options.get('crop_border', 0)
        if not isinstance(border, int) or border < 0:
            yield f"{where}:crop_border must be a whole number, 0 or more, but is '{border}'."
        better = options.get('better', 'higher')
        if better not in ('higher', 'lower'):
            yield f"{where}:better must be 'higher' or 'lower', but is '{better}'."
        if not isinstance(options.get('optional', False), bool):
            yield f"{where}:optional must be true or false, but is '{options['optional']}'."
        if 'img2' in inspect.signature(metric).parameters:
            for phase in without_gt:
                yield (
                    f'{where}: {name} compares with the ground truth, which datasets:{phase} '
                    '(SingleImageDataset) does not have. Use PairedImageDataset, or a metric without reference '
                    'such as calculate_niqe.'
                )


def save_best(opt: dict, model: Any) -> Iterator[str]:
    """The metric that decides which network is kept must be measured in every validation."""
    name, metrics = section(opt, 'val').get('save_best'), section(opt, 'val', 'metrics')
    if name is None:
        return
    known = [*metrics, *getattr(model, 'VALIDATION_FIGURES', ())]
    if name not in known:
        hint = did_you_mean(name, known) or f' There are: {", ".join(known) or "none"}.'
        yield f"val:save_best: there is no metric '{name}' in val:metrics.{hint}"
    elif section(metrics, name).get('optional'):
        yield f'val:save_best: val:metrics:{name} is optional, so it may be left out. Remove its optional: true.'
    if not any(str(phase).split('_')[0] == 'val' for phase in section(opt, 'datasets')):
        yield 'val:save_best needs a validation set. Add datasets:val, or remove save_best.'


def leave_out_metrics(opt: dict) -> list[str]:
    """Take the optional metrics that cannot run on this machine out of checked options.

    A section of ``val:metrics`` is optional if it says ``optional: true``. The word is taken out of those that stay:
    a metric would get it as an argument.

    Args:
        opt (dict): Options in which the check finds nothing. ``val:metrics`` is changed; None if none is left.

    Returns:
        list[str]: One message for each metric left out: which, why, the remedy.
    """
    metrics, said = section(opt, 'val', 'metrics'), []
    for key, options in list(metrics.items()):
        missing = list(_metric_trial(f'val:metrics:{key}', options)) if options.get('optional') else []
        said += [f'an optional metric is left out of this run. {reason}' for reason in missing]
        if missing:
            del metrics[key]
        else:
            metrics[key] = {name: value for name, value in options.items() if name != 'optional'}
    if said and not metrics:
        opt['val']['metrics'] = None  # an empty section would log empty results
    return said


def _metric_arguments(options: dict) -> dict:
    """What a metric itself gets of its section; the rest is for those who run it."""
    return {name: value for name, value in options.items() if name not in ('better', 'optional')}


def _metric_trial(where: str, options: dict) -> Iterator[str]:
    """What a metric lacks on this machine, as far as it can say."""
    metric = look_up(METRIC_REGISTRY, options['type'])
    return trial(where, getattr(metric, 'check_ready', None), _metric_arguments(options))


def _is_without_gt(name: Any) -> bool:
    dataset = look_up(DATASET_REGISTRY, name)
    return inspect.isclass(dataset) and issubclass(dataset, SingleImageDataset)
