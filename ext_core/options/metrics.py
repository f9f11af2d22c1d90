"""The metrics of ``val:metrics``, and the one by which the best network is kept."""

import inspect
from collections.abc import Iterator
from typing import Any

from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.utils.registry import DATASET_REGISTRY, METRIC_REGISTRY

from ext_core.options.declared import Metric
from ext_core.options.keys import METRIC_GIVEN, call_problems
from ext_core.options.problems import Problem, did_you_mean, section, unknown_type
from ext_core.options.signatures import fits, parameters_of, words
from ext_core.options.trying import trial
from ext_models.registries import look_up


def problems(opt: dict) -> Iterator[Problem]:
    """Metrics that are not there, or do not take their arguments or the images of a dataset."""
    kinds = {phase: look_up(DATASET_REGISTRY, data.get('type')) for phase, data in section(opt, 'datasets').items()}
    for key, options in section(opt, 'val', 'metrics').items():
        where = f'val:metrics:{key}'
        name = options.get('type') if isinstance(options, dict) else None
        metric = look_up(METRIC_REGISTRY, name)
        if metric is None:
            yield unknown_type(where, name, 'metric', METRIC_REGISTRY)
            continue
        faults = list(call_problems(opt, where, metric, _arguments(options), METRIC_GIVEN))
        for own, parameter in parameters_of(Metric).items():
            if own in options and not fits(options[own], parameter.schema):
                faults.append(Problem(f'{where}:{own}', f"must be {words(parameter.schema)}, but is '{options[own]}'."))
        yield from {fault.path: fault for fault in faults}.values()
        if not faults and not options.get('optional'):
            yield from trial(where, getattr(metric, 'check_ready', None), _arguments(options))
        for phase, kind in kinds.items() if 'img2' in inspect.signature(metric).parameters else ():
            if inspect.isclass(kind) and issubclass(kind, SingleImageDataset):
                yield Problem(
                    where,
                    f'{name} compares with the ground truth, which datasets:{phase} (SingleImageDataset) does not '
                    'have. Use PairedImageDataset, or a metric without reference such as calculate_niqe.',
                )


def save_best(opt: dict, model: Any) -> Iterator[Problem]:
    """The metric that decides which network is kept must be measured in every validation."""
    name, metrics = section(opt, 'val').get('save_best'), section(opt, 'val', 'metrics')
    if name is None:
        return
    known = [*metrics, *getattr(model, 'VALIDATION_FIGURES', ())]
    if name not in known:
        hint = did_you_mean(name, known) or f' There are: {", ".join(known) or "none"}.'
        yield Problem('val:save_best', f"there is no metric '{name}' in val:metrics.{hint}")
    elif section(metrics, name).get('optional'):
        text = f'val:metrics:{name} is optional, so it may be left out. Remove its optional: true.'
        yield Problem('val:save_best', text)
    if not any(str(phase).split('_')[0] == 'val' for phase in section(opt, 'datasets')):
        yield Problem('val:save_best', 'needs a validation set. Add datasets:val, or remove save_best.')


def leave_out_metrics(opt: dict) -> list[str]:
    """Take the optional metrics that cannot run on this machine out of checked options.

    A section of ``val:metrics`` is optional if it says ``optional: true``. The word is taken out of those that stay:
    a metric would get it as an argument. Where a metric says itself what is better, as those of pyiqa do, it is put in.

    Args:
        opt (dict): Options in which the check finds nothing. ``val:metrics`` is changed; None if none is left.

    Returns:
        list[str]: One message for each metric left out: which, why, the remedy.
    """
    metrics, said = section(opt, 'val', 'metrics'), []
    for key, options in list(metrics.items()):
        metric = look_up(METRIC_REGISTRY, options['type'])
        ready = getattr(metric, 'check_ready', None) if options.get('optional') else None
        missing = list(trial(f'val:metrics:{key}', ready, _arguments(options)))
        said += [f'an optional metric is left out of this run. {reason}' for reason in missing]
        if missing:
            del metrics[key]
        else:
            better = {'better': metric.better} if hasattr(metric, 'better') else {}
            metrics[key] = {**better, **{name: value for name, value in options.items() if name != 'optional'}}
    if said and not metrics:
        opt['val']['metrics'] = None  # an empty section would log empty results
    return said


def _arguments(options: dict) -> dict:
    """What a metric itself gets of its section; the rest is for those who run it."""
    return {name: value for name, value in options.items() if name not in ('better', 'optional')}
