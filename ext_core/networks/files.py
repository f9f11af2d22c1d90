"""Open a generator from a file: the one place where a file becomes a network with weights.

What the network is, is found out in this order: from an option file that is named; from what a .safetensors file says
of itself; from the option file of the experiment that the file lies in; from the names and shapes of the weights, for
the networks of BasicSR and ours; by spandrel, for some forty more.
"""

import contextlib
import inspect
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ext_arch.spandrel_networks import INPUTS, how_to_get
from ext_core.box import from_box
from ext_core.errors import UserError
from ext_core.networks.metadata import Metadata, is_plain, product, without_mark
from ext_core.networks.recognise import KINDS, describe, multiple_of, reduces, with_basicsrs_names
from ext_core.networks.weight_files import experiment_files, options_beside, read_weights
from ext_core.options import loading as option_files
from ext_core.options.problems import section
from ext_models.registries import look_up
from ext_models.weights import weights_problem

SPANDREL = 'spandrel:'  # before the type of networks that only spandrel has
# ends of names that discriminators have and generators have not: spectral norm, batch norm, VGG-UAE
_DISCRIMINATORS = ('.weight_orig', '.running_mean', 'encoder_sha256')


@dataclass
class GeneratorFile:
    """A generator that was opened.

    Args:
        path (Path): The file of its weights.
        net (Module): On the CPU, in evaluation mode, in float32, frozen.
        network (dict[str, Any]): As ``network_g`` of an option file: type and arguments. For networks that BasicSR does
            not have, the type is 'spandrel:<name>', without arguments.
        scale (int): SR size / LR size; where ``reduces``, size of the input / size of the output.
        num_in_ch (int): Channels of its input. See ``channels``.
        key (str | None): Under which the weights stood: 'params_ema', 'params'; None for a bare state dict.
        source (str): What told the network: 'options', 'metadata', 'weights' or 'spandrel'.
        metadata (Metadata | None): What the file says of itself.
        options (dict[str, Any] | None): The option file that told the network or lies beside.
        assumed (dict[str, Any]): Arguments that neither the file nor an option file shows, as they were assumed.
        multiple (int): Sides of the input must be multiples of this.
    """

    path: Path
    net: nn.Module
    network: dict[str, Any]
    scale: int
    num_in_ch: int
    key: str | None
    source: str
    metadata: Metadata | None = None
    options: dict[str, Any] | None = None
    assumed: dict[str, Any] = field(default_factory=dict)
    multiple: int = 1

    @property
    def type(self) -> str:
        """Of the network."""
        return str(self.network['type'])

    @property
    def reduces(self) -> bool:
        """Whether it makes LR of HR images."""
        return reduces(self.network)

    @property
    def doubt(self) -> str | None:
        """For people: what was assumed, if anything was."""
        values = ', '.join(f'{name} {value}' for name, value in self.assumed.items())
        return f'The weights do not show {values}: assumed. If it was trained otherwise,' if values else None

    @property
    def channels(self) -> int:
        """Of the images that it takes: 3 for networks for luminance that restore colour, see ``ext_arch.luma``."""
        return 3 if self.num_in_ch == 1 and hasattr(self.net, 'restore') else self.num_in_ch


def open_generator(
    path: str | Path,
    *,
    options: str | Path | None = None,
    scale: int | None = None,
    key: str = 'params_ema',
) -> GeneratorFile:
    """Open a generator. ``ext_core.registration.register_all`` must have been called.

    Args:
        path (str | Path): A .pth or .safetensors file, the folder of a finished experiment, or the name of a generator
            of the box (:mod:`ext_core.box`).
        options (str | Path | None): Option file with ``network_g`` and ``scale``; wins over what the file says.
        scale (int | None): For networks whose weights do not show it (SRCNN, FSRCNN, VDSR, DegradationNet), where
            nothing else tells it. Otherwise it must be the scale of the network.
        key (str): Of the weights in a .pth file; see :func:`ext_models.weights.select_weights` where the file lacks it.

    Raises:
        UserError: If the file cannot be read, its network is not recognised, or file and options do not fit together.
    """
    path = from_box(path)
    option_file = None if options is None else Path(options)
    if path.is_dir():
        beside, path = experiment_files(path)
        option_file = option_file or beside
    used, weights, metadata = read_weights(path, key)
    if option_file is None and metadata is None:
        option_file = options_beside(path)
    if options is not None:  # one that lies beside, perhaps of somebody else, runs nothing
        option_files.import_customs(option_files.load(Path(options)))
    opt: dict[str, Any] | None = None
    network, size, assumed = None, None, {}
    with contextlib.redirect_stdout(io.StringIO()):  # BasicSR's registry prints when it finds its own networks
        if option_file is not None:
            opt, source = option_files.load(option_file), 'options'
            size, network = opt.get('scale'), opt.get('network_g')
            if not isinstance(size, int) or not isinstance(network, dict):
                raise UserError(
                    f'{option_file} does not describe a generator: it needs scale, a number, and network_g.'
                )
        elif metadata is not None:
            network, size, source = metadata.network, metadata.scale, 'metadata'
        else:
            renamed, source = with_basicsrs_names(weights), 'weights'
            network, size, assumed = describe(renamed, scale) or (None, None, {})
            if network and size is None:
                raise UserError(
                    f'{path} holds the weights of {network["type"]}, which do not show the scale, and no option file '
                    'lies beside. Name the option file, or give the scale.'
                )
            weights = renamed if network else weights
        if network is None or size is None:
            opened = _by_spandrel(path, weights)
        else:
            weights = without_mark(weights)
            if source == 'metadata':  # first without memory: the file may ask for a network of any size
                # networks that compute what they build cannot
                with torch.device('meta'), contextlib.suppress(RuntimeError):
                    _built(network, weights, path, opt)
            net = _built(network, weights, path, opt).eval().requires_grad_(False)
            net.load_state_dict(weights)
            arguments = bound_arguments(network)
            channels = next((int(arguments[name]) for name in INPUTS if name in arguments), 3)
            opened = GeneratorFile(path, net, network, size, channels, None, source, metadata, opt, assumed)
            opened.multiple = multiple_of(network, size)
    opened.key = used
    if scale not in (None, opened.scale):
        raise UserError(f'{path} is a {opened.type} of scale {opened.scale}, not {scale}. Correct the scale.')
    return opened


def _by_spandrel(path: Path, weights: Mapping[str, Any]) -> GeneratorFile:
    """Of a network that neither BasicSR nor this project has."""
    try:
        import spandrel

        model = spandrel.MAIN_REGISTRY.load(dict(weights))
    except Exception as error:  # weights of a network that only begins like one that spandrel knows fail in many ways
        if isinstance(error, ImportError):
            why = 'which knows forty more: not installed. Install it with: pip install spandrel'
        else:
            unknown = isinstance(error, spandrel.UnsupportedModelError)
            why = 'unknown to it' if unknown else f'{type(error).__name__}: {error}'.splitlines()[0]
        names = list(weights)
        lines = [
            f'{path}: it was not recognised what network these weights belong to.{_suspicion(names)} Tried:',
            '  an option file: none is given, and none lies beside',
            f"  the file's metadata: none of {product().split()[0]}",
            f'  names and shapes of the weights: none of {", ".join(KINDS)}',
            f'  spandrel{", " if isinstance(error, ImportError) else ": "}{why}',
            f'Its first weights are {", ".join(names[:4])}. Name its option file, or another file.',
        ]
        raise UserError('\n'.join(lines)) from error
    name, purpose, net = model.architecture.name, model.purpose, model.model
    if not isinstance(model, spandrel.ImageModelDescriptor) or purpose not in ('SR', 'Restoration'):
        raise UserError(f'{path} is a {name} for {purpose}, no generator of super-resolution.')
    network, multiple = {'type': f'{SPANDREL}{name}'}, model.size_requirements.multiple_of
    channels, net = model.input_channels, net.float().eval().requires_grad_(False)
    return GeneratorFile(path, net, network, model.scale, channels, None, 'spandrel', multiple=multiple)


def _suspicion(names: Iterable[str]) -> str:
    return ' It looks like a discriminator.' if any(name.endswith(_DISCRIMINATORS) for name in names) else ''


def _built(
    network: dict[str, Any], weights: Mapping[str, Any], path: Path, options: dict[str, Any] | None
) -> nn.Module:
    """The network, which the weights fit.

    Raises:
        UserError: If it cannot be built, or the weights are those of another.
    """
    from basicsr.archs import build_network
    from basicsr.utils.registry import ARCH_REGISTRY

    try:
        net = build_network(dict(network))
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        remedy = 'Correct the option file.'
        if look_up(ARCH_REGISTRY, network.get('type')) is None:
            known = section(options or {}, 'custom_imports').get('imports', 'MODULE')
            modules = known if isinstance(known, str) else ' '.join(map(str, known))
            register = f'Correct the type, or import what registers it: scripts/upscale.py --import {modules}'
            remedy = how_to_get(network.get('type')) or register
        raise UserError(f'network_g {network} cannot be built: {error}. {remedy}') from error
    remedy = f'Name another file, or the option file of this one.{_suspicion(weights)}'
    problem = weights_problem(net, weights, str(path), 'g', remedy)
    if problem:
        raise UserError(problem)
    return net


def bound_arguments(network: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a registered network, those given and the defaults of others; sequences as lists.

    Defaults that no option file can hold, such as a class, are left out: they are the same wherever it is built.
    """
    from basicsr.utils.registry import ARCH_REGISTRY

    parameters = inspect.signature(ARCH_REGISTRY.get(network['type'])).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    arguments = {name: value for name, value in defaults.items() if value is not inspect.Parameter.empty}
    arguments = {name: value for name, value in arguments.items() if is_plain(value)}
    arguments |= {name: value for name, value in network.items() if name != 'type'}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
