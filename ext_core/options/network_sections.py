"""Networks: their arguments, their scale, and the weights that they are to start from."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
from torch import nn

from ext_arch.spandrel_networks import SCALES
from ext_core.errors import UserError
from ext_core.options import trying
from ext_core.options.keys import component_problems, components
from ext_core.options.problems import Problem, is_number, section
from ext_models.optimizers import parameter_groups
from ext_models.registries import look_up
from ext_models.weights import keep_layers, load_checkpoint, select_weights, weights_problem

SMALLEST_RANGE = 1e-3  # of images, which networks divide by it; papers have 1 or 255


def problems(opt: dict, is_train: bool) -> Iterator[Problem]:
    """Check every ``network_*`` section and ``path:pretrain_network_*``."""
    for part in [part for part in components(opt) if part.kind == 'network']:
        key, network, arguments = part.where, part.target, part.options
        faults = list(component_problems(opt, part))
        for name in SCALES if network else ():
            factor = _argument(network, name, arguments)
            known = is_number(factor) and is_number(opt.get('scale'))
            if key in ('network_g', 'network_degrade') and known and factor != opt['scale']:
                source = 'is' if name in arguments else f"is not given, and {arguments['type']}'s default is"
                scale = opt['scale']
                text = f'{source} {factor}, but scale is {scale}. Set {key}:{name}: {scale}, or correct scale.'
                faults.append(Problem(f'{key}:{name}', text))
        span = arguments.get('img_range') if network else None
        if is_number(span) and not span >= SMALLEST_RANGE:
            faults.append(Problem(f'{key}:img_range', f"must be {SMALLEST_RANGE} or more, but is '{span}'."))
        yield from faults or _build(opt, key, network, is_train)
    if is_train:
        yield from _discriminator(opt)
        degradations = [part for part in components(opt) if part.kind == 'degradation']
        faults = [fault for part in degradations for fault in component_problems(opt, part)]
        yield from faults or (fault for part in degradations[:1] for fault in trying.trial(opt, part))


def _argument(target: Any, name: str, arguments: dict) -> Any:
    """What a class gets for a parameter: the section's value, or its default, or None where it has no such one."""
    parameter = inspect.signature(target).parameters.get(name)
    if parameter is None:
        return None
    return arguments.get(name, None if parameter.default is parameter.empty else parameter.default)


def _discriminator(opt: dict) -> Iterator[Problem]:
    """A discriminator of fixed input size must get crops of that size."""
    arguments = section(opt, 'network_d')
    network = look_up(ARCH_REGISTRY, arguments.get('type'))
    crop = (
        opt.get('gt_size') or section(opt, 'degrade').get('gt_size') or section(opt, 'datasets', 'train').get('gt_size')
    )
    size = _argument(network, 'input_size', arguments) if network else None
    if not (is_number(size) and is_number(crop)):
        return
    sizes = {crop}
    model = look_up(MODEL_REGISTRY, opt.get('model_type'))
    if model is not None and not issubclass(model, SRGANModel) and is_number(opt.get('scale')) and opt['scale'] >= 1:
        sizes.add(crop // opt['scale'])  # of a model that judges low-resolution images
    if size not in sizes:
        yield Problem(
            'network_d',
            f'{arguments["type"]} takes images of {size} x {size} only (input_size), but the crops are {crop} x '
            f'{crop}. Set datasets:train:gt_size: {size}, set network_d:input_size: {crop} if the network offers it, '
            'or use UNetDiscriminatorSN, which takes any size.',
        )


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
    except UserError as error:
        yield Problem(key, str(error))
        return
    except Exception as error:
        name = '' if isinstance(error, ValueError | AssertionError) else f'{type(error).__name__}: '
        yield Problem(key, f'{opt[key]["type"]} cannot be built from these arguments: {name}{error}')
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
    if content is not None:
        yield from _compare(opt, suffix, net, content)


def _compare(opt: dict, suffix: str, net: nn.Module, content: Mapping) -> Iterator[Problem]:
    where, path = f'path:pretrain_network_{suffix}', opt['path'][f'pretrain_network_{suffix}']
    kept = f'strict_load_{suffix}_except'
    try:
        _, weights = select_weights(content, opt['path'].get(f'param_key_{suffix}', 'params'), path)
        if opt['path'].get(kept):
            weights = keep_layers(net, weights, opt['path'][kept], f'path:{kept}')
            weights = {  # the network's own have no memory here
                name: value.new_zeros(value.shape, device='cpu') if torch.is_tensor(value) and value.is_meta else value
                for name, value in weights.items()
            }
    except ValueError as error:
        yield Problem(where, str(error))
        return
    problem = weights_problem(net, weights, path, suffix, strict=opt['path'].get(f'strict_load_{suffix}', True))
    if problem:
        yield Problem(where, problem)
