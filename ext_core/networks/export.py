"""Write an opened generator into a file for others, with what is known of it."""

import argparse
import dataclasses
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from ext_arch.spandrel_networks import NETWORKS
from ext_core.atomic import atomic_write_bytes
from ext_core.errors import UserError
from ext_core.networks.files import GeneratorFile, bound_arguments, open_generator
from ext_core.networks.metadata import (
    MARK,
    Metadata,
    is_plain,
    looks_like_path,
    product,
    training_sets,
)
from ext_core.networks.records import figures_of, iteration_of

# their shapes show all, or spandrel knows them: tools without our adapter open them, which a mark could hinder
_UNMARKED = ('RRDBNet', *NETWORKS)


def opened_input(args: argparse.Namespace, suffixes: tuple[str, ...]) -> GeneratorFile:
    """The generator that the arguments of :func:`ext_core.arguments.add_conversion` name; OUT is looked at first.

    Raises:
        UserError: If it cannot be opened, or OUT not be written.
    """
    path: Path = args.output
    if path.suffix.lower() not in suffixes:
        raise UserError(f'{path}: the output must end in {" or ".join(suffixes)}.')
    if not path.parent.is_dir():
        raise UserError(f'{path}: there is no folder {path.parent}. Make it first.')
    if path.exists() and not args.force:
        raise UserError(f'{path} is there already. Name another file, or overwrite it with --force.')
    opened = open_generator(args.input, options=args.options, scale=args.scale, key=args.key)
    if opened.doubt:
        print(opened.doubt, 'repeat with --options.')
    return opened


def metadata_of(opened: GeneratorFile) -> Metadata:
    """All that is known of a generator: from its file, its option file, and the experiment that it lies in.

    Args:
        opened (GeneratorFile): Of a network that BasicSR has.

    Raises:
        UserError: If an argument of the network is a path, or otherwise cannot be told in a file.
    """
    arguments = bound_arguments(opened.network)
    for name, value in arguments.items():
        if not is_plain(value) or looks_like_path(value):
            raise UserError(
                f"{opened.path}: the argument '{name}' of {opened.type}, {str(value)[:60]!r}, belongs to this "
                'machine and cannot be told to others. Set it to ~ in the option file if the network works without it.'
            )
    network = {'type': opened.type, **arguments}
    known = opened.metadata or Metadata(network, opened.scale)
    if opened.options is not None:
        known = dataclasses.replace(
            known,
            iteration=iteration_of(opened.path) if known.iteration is None else known.iteration,
            datasets=known.datasets or training_sets(opened.options),
            metrics=known.metrics or figures_of(opened.path),
        )
    note = {name: text for name, text in known.extra.items() if name == 'note'}
    return dataclasses.replace(known, network=network, scale=opened.scale, product=product(), extra=note)


def weights_of(opened: GeneratorFile, half: bool) -> 'OrderedDict[str, torch.Tensor]':
    """The state dict under BasicSR's names, in float32 or float16.

    Raises:
        UserError: If float16 cannot hold a weight.
    """
    weights = cast('OrderedDict[str, torch.Tensor]', opened.net.state_dict())
    for name, value in weights.items():
        if value.is_floating_point():
            weights[name] = value.to(torch.float16 if half else torch.float32).contiguous()
            if half and not torch.equal(weights[name].isfinite(), value.isfinite()):
                raise UserError(f'{opened.path}: {name} has values that float16 cannot hold. Leave out --half.')
    return weights


def save_safetensors(weights: Mapping[str, torch.Tensor], metadata: Metadata | None, path: Path) -> None:
    """A .safetensors file with metadata; for networks that spandrel does not know, with a mark beside the weights.

    Raises:
        UserError: If it cannot be written.
    """
    from safetensors.torch import save

    strings = {'format': 'pt'}
    tensors: dict[str, Any] = dict(weights)
    if metadata is not None:
        strings |= metadata.to_strings()
        if metadata.network['type'] not in _UNMARKED:
            text = json.dumps(metadata.network, sort_keys=True)
            tensors[MARK] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    atomic_write_bytes(save(tensors, strings), path)
