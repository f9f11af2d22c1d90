"""Files with weights, and where they and their option files lie; without building a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ext_core.errors import UserError, user_errors
from ext_core.networks.metadata import Metadata, from_strings
from ext_models import weights

load_checkpoint = user_errors()(weights.load_checkpoint)
select_weights = user_errors()(weights.select_weights)
SUFFIXES = ('.pth', '.pt', '.safetensors')


def experiment_files(folder: Path) -> tuple[Path, Path]:
    """Option file and last generator of a finished experiment.

    Raises:
        UserError: If one of them is missing.
    """
    options, weights = option_file_in(folder), folder / 'models' / 'net_g_latest.pth'
    earlier = sorted(weights.parent.glob('net_g_*.pth'), key=lambda path: path.stat().st_mtime)
    if options and not weights.is_file() and earlier:
        raise UserError(
            f'{folder} has not finished, and has no {weights.name}. Name a checkpoint, the newest is {earlier[-1]}.'
        )
    if options is None or not weights.is_file():
        raise UserError(
            f'{folder} is not a finished experiment: its option file (.yml) or models/net_g_latest.pth is missing. '
            'Train it first.'
        )
    return options, weights


def options_beside(weights: Path) -> Path | None:
    """The option file of the experiment whose folder ``models`` a checkpoint lies in."""
    models = weights.resolve().parent
    return option_file_in(models.parent) if models.name == 'models' else None


def option_file_in(folder: Path) -> Path | None:
    """That of an experiment, which training copied into it. BasicSR keeps the name that the file had, and an archived
    or copied experiment's has the name that the folder had before: so it may be called otherwise, if it is alone."""
    own, found = folder / f'{folder.resolve().name}.yml', [path for path in folder.glob('*.yml') if path.is_file()]
    if own.is_file():
        return own
    return found[0] if len(found) == 1 else None


def read_weights(path: Path, key: str = 'params_ema') -> tuple[str | None, Mapping[str, Any], Metadata | None]:
    """The weights of a file, without building a network, and without the prefix of DistributedDataParallel.

    Returns:
        tuple: The key under which they stood, None for a bare state dict; the weights, with what torch notes beside
        them; what the file says of itself.

    Raises:
        UserError: If the file is missing, damaged, of another kind, or holds no weights.
    """
    suffix, used, metadata = path.suffix.lower(), None, None
    if not path.is_file():
        raise UserError(f'{path} does not exist. Name a {" or ".join(SUFFIXES)} file, or the folder of an experiment.')
    if suffix not in SUFFIXES:
        raise UserError(f'{path} is no generator: expected {", ".join(SUFFIXES)}, but the name ends in {suffix!r}.')
    found: Mapping[str, Any]
    if suffix == '.safetensors':
        if key not in weights.BY_DEFAULT:
            raise UserError(f'{path} holds one network, under no key, so there is no {key!r} in it. Leave --key away.')
        with user_errors():
            found, strings = weights.load_safetensors(path)
        metadata = from_strings(strings, str(path))
    else:
        content = load_checkpoint(path)
        if {'optimizers', 'schedulers'} <= content.keys():
            raise UserError(f'{path} is a training state, which holds no network. Name a file in the folder models.')
        used, found = select_weights(content, key, str(path))
    if any(name.startswith('module.') for name in found):
        found = {name.removeprefix('module.'): value for name, value in found.items()}
    return used, found, metadata
