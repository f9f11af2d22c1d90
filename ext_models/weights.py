"""Files of weights: reading them without running code, and whether they fit a network."""

import os
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# keys under which other projects keep weights
_ELSEWHERE = ('params_ema', 'params-ema', 'state_dict', 'model_state_dict', 'model', 'net')
NOTES = 'basicsr_ext.'  # before the names of what a file of ours says beside its weights
_TEXT = frozenset({*b'\t\n\r', *range(32, 127)})
_SHOWN = 3  # differing names given for each kind; the rest is counted


def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Load a checkpoint to the CPU without running any code it may contain (``weights_only``).

    Args:
        path (str | PathLike): A ``.pth``, ``.state`` or ``.safetensors`` file.

    Returns:
        dict[str, Any]: The dictionary the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, of another kind, or holds objects other than plain data.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'Checkpoint {path} does not exist: correct the path in the option file.')
    if str(path).lower().endswith('.safetensors'):
        return {name: value for name, value in load_safetensors(path)[0].items() if not name.startswith(NOTES)}
    _require_stored(path)
    with open(path, 'rb') as file:
        beginning = file.read(64)
    if beginning and all(byte in _TEXT for byte in beginning):  # both of torch's formats begin otherwise
        raise ValueError(
            f'Checkpoint {path} cannot be read: it is a text file, such as a web page, or a Git LFS pointer that '
            'stands for the weights. Download the file itself.'
        )
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # garbage makes the unpickler raise almost any type
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        if reason.startswith('Weights only load failed'):  # it goes on to advise the unsafe way
            reason = 'it holds Python objects, which could run code'
        raise ValueError(
            f'Checkpoint {path} cannot be read: {reason}. It is truncated, not written by torch.save, or holds Python '
            'objects besides tensors: download or save it again, or name another file.'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} is not a checkpoint: it holds a {type(content).__name__}, not a dictionary. Name a file saved by '
            'BasicSR or a state dict.'
        )
    return content


def load_safetensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a ``.safetensors`` file, and what it says of itself.

    Raises:
        ValueError: If it is damaged, or of another kind.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, 'pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # the package has a type of its own, and lets others out
        raise ValueError(
            f'{path} cannot be read as a .safetensors file: {error}. Download or convert it again.'
        ) from error


def _require_stored(path: str | os.PathLike) -> None:
    """Refuse TorchScript, which is code; and an archive with compressed parts: torch.save writes none, and a small one
    could fill the memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        return  # of the older format, or no checkpoint at all: torch.load says so
    if any(entry.filename.split('/')[1:] == ['constants.pkl'] for entry in entries):
        raise ValueError(
            f'{path} is TorchScript: a network as code, which is not run here. Name the weights that it was made from.'
        )
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ValueError(
            f'Checkpoint {path} is compressed ({packed[0]}), which torch.save never does: unpacked it may be of any '
            'size. Name a file as torch.save wrote it, from a source that you trust.'
        )


def select_weights(
    content: Mapping[str, Any], param_key: str | None, path: str
) -> tuple[str | None, Mapping[str, Any]]:
    """Find the state dict in a checkpoint: under ``param_key``; where that is one of the defaults, also under 'params',
    under the one key of those that other projects use (state_dict, model, net, ...), or at its root.

    Args:
        content (Mapping[str, Any]): What the file holds.
        param_key (str | None): Key of the weights; None takes the root.
        path (str): The file, for messages.

    Returns:
        tuple[str | None, Mapping[str, Any]]: The key that was used, and the state dict behind it.

    Raises:
        ValueError: If no tensors are there, if several keys may be meant, or if one of their names is no text.
    """
    named = [] if param_key is None else [param_key]
    if param_key == 'params_ema':
        named += ['params-ema', 'params']
    found = [name for name in named if name in content][:1]
    if not found and param_key in BY_DEFAULT:
        found = [name for name in _ELSEWHERE if _holds_tensors(content.get(name))]
    if len(found) > 1:
        raise ValueError(
            f"{path} holds no '{param_key}', but weights under {' and '.join(found)}. Say which: {_NAME_IT}."
        )
    key = found[0] if found else None
    weights: Any = content[key] if key is not None else content if param_key in (None, *BY_DEFAULT) else None
    if not _holds_tensors(weights):
        wanted = 'at its root' if param_key is None else f"under the key '{param_key}'"
        raise ValueError(
            f'{path} holds no network weights {wanted}; its keys are: {", ".join(map(str, list(content)[:8]))}. '
            f'Name the key of the weights, {_NAME_IT}; or name another file.'
        )
    strange = next((name for name in weights if not isinstance(name, str)), None)
    if strange is not None:
        raise ValueError(f'{path} holds no network weights: one of their names is {strange!r}. Name another file.')
    return key, weights


BY_DEFAULT = ('params', 'params_ema')  # another key was named by somebody, who means it
_NAME_IT = 'with param_key_g (param_key_d) under path: in an option file, with --key for a script'


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(torch.is_tensor(element) for element in value.values())


def option_suffix(model: Any, net: nn.Module) -> str:
    """What stands behind 'network_' in the option file for a model's network, wrapped or bare: 'g', 'd', ..."""
    bare = model.get_bare_model(net)
    for name, value in vars(model).items():
        if name.startswith('net_') and isinstance(value, nn.Module) and model.get_bare_model(value) is bare:
            return name.removeprefix('net_').removesuffix('_ema')
    return 'g'


def keep_layers(net: nn.Module, weights: Mapping[str, Any], layers: Any, key: str) -> dict[str, Any]:
    """A file's weights with some layers exchanged for those that the network has.

    Args:
        net (Module): Unwrapped network; one on the device 'meta' will do.
        weights (Mapping[str, Any]): State dict of the file.
        layers (list[str]): Names of layers, such as 'upsample' or 'body.3'.
        key (str): Option key that names the layers, for the message.

    Returns:
        dict[str, Any]: All weights of the file outside these layers, and the network's own inside.

    Raises:
        ValueError: If ``layers`` is no list, or one of them is not in the network.
    """
    own = net.state_dict()
    names = list(dict.fromkeys(name.split('.')[0] for name in own))
    if not isinstance(layers, list | tuple) or not all(isinstance(layer, str) for layer in layers):
        raise ValueError(f"{key} must be a list of layers, but is '{layers}'. Write for instance [upsample].")
    for layer in layers:
        if not any(is_inside(name, layer) for name in own):
            raise ValueError(f"{key}: {type(net).__name__} has no layer '{layer}'. It has: {', '.join(names)}.")
    kept = {str(name).removeprefix('module.'): value for name, value in weights.items()}
    kept = {name: value for name, value in kept.items() if not any(is_inside(name, layer) for layer in layers)}
    return kept | {name: value for name, value in own.items() if any(is_inside(name, layer) for layer in layers)}


def is_inside(name: str, layer: str) -> bool:
    """Whether a weight belongs to a layer, or to one within it."""
    return name == layer or name.startswith(f'{layer}.')


def weights_problem(
    net: nn.Module,
    weights: Mapping[str, Any],
    path: str,
    suffix: str,
    remedy: str | None = None,
    strict: bool = True,
) -> str | None:
    """What speaks against loading a state dict into a network.

    Args:
        net (Module): Unwrapped network; one on the device 'meta' will do.
        weights (Mapping[str, Any]): State dict; the prefix that DistributedDataParallel leaves is ignored.
        path (str): The file, for the message.
        suffix (str): What stands behind 'network_' in the option file: 'g', 'd', ...
        remedy (str | None): What to do where names or shapes differ. Default: None, for what helps a training.
        strict (bool): Whether names and shapes must agree. Tensors without NaN are asked for anyway. Default: True.

    Returns:
        str | None: What differs and what to do about it, or None where everything fits.
    """
    saved = {str(name).removeprefix('module.'): value for name, value in weights.items()}
    own = net.state_dict()
    common = {name: value for name, value in own.items() if name in saved and torch.is_tensor(value)}
    unsound = {
        'not plain tensors': [name for name in common if not _is_plain(saved[name])],
        'with NaN': [name for name, value in common.items() if _has_nan(saved[name], value.shape)],
    }
    if lines := _counted(unsound):
        remedy = 'Name an earlier checkpoint, or get the file again from a source that you trust.'
        return '\n'.join([f'{path} holds values that a {type(net).__name__} cannot work with:', *lines, remedy])
    kinds = {
        'missing in the file': [name for name in own if name not in saved],
        'unknown to the network': [name for name in saved if name not in own],
        'of another shape': [
            f'{name} {tuple(saved[name].shape)} instead of {tuple(value.shape)}'
            for name, value in common.items()
            if saved[name].shape != value.shape
        ],
    }
    differences = _counted(kinds)
    if not (strict and differences):
        return None
    lines = [f'{path} holds weights for another network than this {type(net).__name__}:', *differences]
    of_training = (
        f'Check path:pretrain_network_{suffix} and the options of network_{suffix}, or load what fits with '
        f'path:strict_load_{suffix}: false.'
    )
    return '\n'.join([*lines, remedy or of_training])


def _counted(kinds: Mapping[str, list[str]]) -> list[str]:
    """One line for each kind that has names, with the first of them."""
    return [
        f'  {len(names)} {kind}: {", ".join(names[:_SHOWN])}{", ..." if len(names) > _SHOWN else ""}'
        for kind, names in kinds.items()
        if names
    ]


def _is_plain(value: Any) -> bool:
    return torch.is_tensor(value) and value.layout == torch.strided and not value.is_meta and not value.is_quantized


def _has_nan(value: Any, shape: torch.Size) -> bool:
    """Whether a tensor has NaN; one of another shape than the network's is not looked at, for it may be huge."""
    return _is_plain(value) and value.shape == shape and bool(value.isnan().any())
