"""Experiments as finished trainings leave them."""

from pathlib import Path

import torch
from basicsr.archs import build_network
from torch import nn

from ext_core.options import yaml_safe


def finished_experiment(folder: Path, network: dict, *nets: nn.Module, **options: object) -> Path:
    """A folder with an option file of its name and the newest weights.

    Args:
        network (dict): The section ``network_g``.
        nets: The network, and its average where there is one. Default: a new network.
        options: Further sections of the option file.
    """
    (folder / 'models').mkdir(parents=True, exist_ok=True)
    scale = network.get('upscale', network.get('scale', 4))
    opt = {'name': folder.name, 'scale': scale, 'network_g': network, 'train': {}, **options}
    (folder / f'{folder.name}.yml').write_text(yaml_safe.dump(opt))
    content = zip(('params', 'params_ema'), nets or [build_network(network)], strict=False)
    torch.save({key: net.state_dict() for key, net in content}, folder / 'models' / 'net_g_latest.pth')
    return folder
