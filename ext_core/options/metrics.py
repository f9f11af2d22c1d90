"""The metrics of ``val:metrics``, and the one by which the best network is kept."""

from collections.abc import Iterator
from typing import Any

from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.utils.registry import DATASET_REGISTRY

from ext_core.options.keys import Component, components
from ext_core.options.problems import Problem, did_you_mean, section
from ext_core.options.signatures import parameters_of
from ext_core.options.trying import trial
from ext_models.registries import registered


def without_ground_truth(opt: dict, part: Component) -> Iterator[Problem]:
    """A metric that compares with the ground truth, of datasets that have none."""
    for phase, data_opt in section(opt, 'datasets').items() if 'img2' in parameters_of(part.target) else ():
        kind = registered(DATASET_REGISTRY, data_opt)
        if kind is not None and issubclass(kind, SingleImageDataset):
            yield Problem(
                part.where,
                f'{part.options["type"]} compares with the ground truth, which datasets:{phase} (SingleImageDataset) '
                'does not have. Use PairedImageDataset, or a metric without reference such as calculate_niqe.',
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
    for part in [part for part in components(opt) if part.kind == 'metric']:
        key, options = part.where.removeprefix('val:metrics:'), part.options
        missing = list(trial(opt, part)) if options.get('optional') else []
        said += [f'an optional metric is left out of this run. {reason}' for reason in missing]
        if missing:
            del metrics[key]
        else:
            better = {'better': part.target.better} if hasattr(part.target, 'better') else {}
            metrics[key] = {**better, **{name: value for name, value in options.items() if name != 'optional'}}
    if said and not metrics:
        opt['val']['metrics'] = None  # an empty section would log empty results
    return said
