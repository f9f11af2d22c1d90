"""A line of figures for each training."""

import copy
import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ext_core.benchmark.complexity import parameter_count
from ext_core.options.problems import look_up
from ext_core.report.experiment import Experiment
from ext_core.report.tables import lower_is_better
from ext_core.saving.resume import Curve

_PREFIX = 'metrics/'
Point = tuple[int, float]  # iteration and value


@dataclass
class Row:
    """Figures of one training; None where it does not tell.

    Args:
        metrics (dict): Best (None where it is not known what is better) and last value, by ``set/metric``.
    """

    experiment: Experiment
    model_type: str | None
    parameters: int | None
    metrics: dict[str, tuple[Point | None, Point]] = field(default_factory=dict)


def row(experiment: Experiment) -> Row:
    """The figures of one training; the generator is built to be counted."""
    model_type = (experiment.options or {}).get('model_type')
    found = Row(experiment, None if model_type is None else str(model_type), _parameters(experiment))
    for tag, curve in experiment.curves.items():
        if tag.startswith(_PREFIX):
            last = max(curve)
            choose = _chooser(experiment, tag.rsplit('/', 1)[1])
            found.metrics[tag.removeprefix(_PREFIX)] = _best(curve, choose), (last, curve[last])
    return found


def metric_names(rows: Sequence[Row]) -> list[str]:
    """All of their metrics, in the order in which they appear."""
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds."""
    return '–' if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def _best(curve: Curve, choose: Callable | None) -> Point | None:
    finite = {step: value for step, value in curve.items() if math.isfinite(value)}
    if choose is None or not finite:
        return None
    step = choose(finite, key=finite.__getitem__)  # the first of equal ones
    return step, finite[step]


def _chooser(experiment: Experiment, metric: str) -> Callable | None:
    """``min`` or ``max``, by ``better`` of the metric's options, or by what the model says of figures of its own."""
    from basicsr.utils.registry import MODEL_REGISTRY

    if metric in experiment.metrics:
        return min if lower_is_better(experiment.metrics[metric]) else max
    model = look_up(MODEL_REGISTRY, (experiment.options or {}).get('model_type'))
    better = getattr(model, 'VALIDATION_FIGURES', {}).get(metric)
    return {'lower': min, 'higher': max}.get(str(better))


def _parameters(experiment: Experiment) -> int | None:
    from basicsr.archs import build_network

    network = experiment.section('network_g')
    if not network:
        return None
    try:
        return parameter_count(build_network(copy.deepcopy(network)))
    except Exception as error:  # a network's constructor may raise anything
        experiment.notes.append(f'network_g cannot be built, so its parameters are not counted: {error}')
        return None
