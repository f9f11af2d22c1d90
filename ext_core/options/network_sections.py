"""Networks: their arguments, their scale, and the weights that they are to start from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ext_arch.spandrel_networks import SCALES
from ext_core.errors import UserError
from ext_core.options import trying
from ext_core.options.keys import component_problems, components
from ext_core.options.problems import Problem, is_number, section
from ext_models.optimizers import parameter_groups
from ext_models.weights import keep_layers, load_checkpoint, select_weights, weights_problem

SMALLEST_RANGE = 1e-3  # of images, which networks divide by it; papers have 1 or 255


def problems(opt: dict, is_train: bool) -> Iterator[Problem]:
    """Check every ``network_*`` section and ``path:pretrain_network_*``."""
    for part in [part for part in components(opt) if part.kind == 'network']:
        key, network, arguments = part.where, part.target, part.options
        faults = list(component_problems(opt, part))
        for name in SCALES if key in ('network_g', 'network_degrade') else ():
            if name not in part.known:
                continue
            factor, scale = arguments.get(name, part.known[name].default), opt.get('scale')
            if is_number(factor) and is_number(scale) and factor != scale:
                source = 'is' if name in arguments else f"is not given, and {arguments['type']}'s default is"
                text = f'{source} {factor}, but scale is {scale}. Set {key}:{name}: {scale}, or correct scale.'
                faults.append(Problem(f'{key}:{name}', text))
        span = arguments.get('img_range') if network else None
        if is_number(span) and not span >= SMALLEST_RANGE:
            faults.append(Problem(f'{key}:img_range', f"must be {SMALLEST_RANGE} or more, but is '{span}'."))
        yield from faults or _build(opt, key, network, is_train)
    if is_train:
        degradations = [part for part in components(opt) if part.kind == 'degradation']
        faults = [fault for part in degradations for fault in component_problems(opt, part)]
        yield from faults or (fault for part in degradations[:1] for fault in trying.trial(opt, part))


def _build(opt: dict, key: str, kind: Any, is_train: bool) -> Iterator[Problem]:
    """Build the network without memory for its weights, to hear what its constructor refuses, and compare weights."""
    suffix = key.removeprefix('network_')
    where, path = f'path:pretrain_network_{suffix}', section(opt, 'path').get(f'pretrain_network_{suffix}')
    content = None
    try:
        if isinstance(path, str) and Path(path).is_file():
            content = load_checkpoint(path)
    except (ValueError, OSError) as error:
        yield Problem(where, str(error))
    try:
        net = trying.network(kind, opt[key])
    except Exception as error:
        yield Problem(key, str(error) if isinstance(error, UserError) else trying.refusal(opt[key]['type'], error))
        return
    factors = section(opt, 'train', f'optim_{suffix}').get('lr_mult')
    if isinstance(factors, dict):  # else the check of the optimizer refuses it
        try:
            parameter_groups(net, 1.0, factors)
        except ValueError as error:
            yield Problem(f'train:optim_{suffix}', str(error))
    if suffix == 'g' and not is_train and not path and next(net.parameters(), None) is not None:
        yield Problem(
            where,
            f'is missing: {opt[key]["type"]} would be tested with random weights. Name the file of a trained network, '
            'such as experiments/NAME/models/net_g_latest.pth.',
        )
    if content is None or path is None:
        return
    options, kept = opt['path'], f'strict_load_{suffix}_except'
    try:
        _, weights = select_weights(content, options.get(f'param_key_{suffix}', 'params'), path)
        if options.get(kept):
            weights = keep_layers(net, weights, options[kept], f'path:{kept}')
            weights = {  # the network's own have no memory here
                name: value.new_zeros(value.shape, device='cpu') if torch.is_tensor(value) and value.is_meta else value
                for name, value in weights.items()
            }
    except ValueError as error:
        yield Problem(where, str(error))
        return
    problem = weights_problem(net, weights, path, suffix, strict=options.get(f'strict_load_{suffix}', True))
    if problem:
        yield Problem(where, problem)
