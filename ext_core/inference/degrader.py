"""A trained degradation network from its files, and what its images depend on."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from ext_core.generators.files import GeneratorFile, open_generator


def load_degrader(option_file: Path, weights: Path, device: torch.device | str = 'cpu') -> GeneratorFile:
    """The degradation network ``network_g`` of an option file, with its EMA weights where the file has them.

    Args:
        option_file (Path): That of stage 1.
        weights (Path): Checkpoint of its generator. :func:`ext_core.generators.weight_files.experiment_files` finds
            both in an experiment.
        device (torch.device | str): Where to put it. Default: 'cpu'.

    Raises:
        UserError: If a file is missing or the weights belong to another network.
    """
    opened = open_generator(weights, options=option_file)
    opened.net.requires_grad_(False).to(device)
    return opened


def identity_of(degrader: GeneratorFile) -> dict[str, Any]:
    """What its images depend on: the weights' hash, the network's options, the scale."""
    digest = hashlib.sha256(degrader.path.read_bytes()).hexdigest()
    return {'weights_sha256': digest, 'network': degrader.network, 'scale': degrader.scale}
