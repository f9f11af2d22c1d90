"""The networks of the package spandrel, by the names of their classes.

They are registered with BasicSR's suffix for what others may replace: where BasicSR, this project or a file of your own
has a network of the same name, that one is taken. BasicSR has RCAN and SwinIR.
"""

import importlib
from typing import Any

# class: the package of spandrel.architectures that has it
NETWORKS = {
    **{
        name: name
        for name in (
            'ATD', 'AuraSR', 'CRAFT', 'Compact', 'DAT', 'DCTLSA', 'DITN', 'DRCT', 'DRUNet', 'DnCNN', 'ESRGAN', 'FBCNN',
            'FDAT', 'FFTformer', 'GFPGAN', 'GRL', 'HAT', 'HVICIDNet', 'IPT', 'LaMa', 'MMRealSR', 'MixDehazeNet',
            'MoESR', 'MoSR', 'NAFNet', 'OmniSR', 'PLKSR', 'RGT', 'RestoreFormer', 'RetinexFormer', 'SAFMN', 'SAFMNBCIE',
            'SCUNet', 'SPAN', 'SeemoRe', 'SwiftSRGAN', 'Swin2SR', 'Uformer',
        )
    },
    'KBNet_l': 'KBNet',
    'KBNet_s': 'KBNet',
    'RealPLKSR': 'PLKSR',
    **dict.fromkeys(('UpCunet2x', 'UpCunet2x_fast', 'UpCunet3x', 'UpCunet4x'), 'RealCUGAN'),
}  # fmt: skip
SCALES = ('upscale', 'scale', 'up_scale', 'upscale_factor', 'upscaling_factor')  # their names for it, and BasicSR's
INPUTS = ('num_in_ch', 'in_chans', 'in_nc', 'in_channels', 'in_ch', 'inp_channels', 'img_channel', 'n_colors')


def how_to_get(name: Any) -> str | None:
    """What to do where a network is not registered, but spandrel has it; None for other names."""
    if not isinstance(name, str) or name not in NETWORKS:
        return None
    return f'{name} is a network of the package spandrel. Install it, or a newer version: pip install -U spandrel'


def register() -> None:
    """Add them to BasicSR's registry, where spandrel is installed. Idempotent."""
    from basicsr.utils.registry import ARCH_REGISTRY

    try:
        packages: dict[str, Any] = {
            package: importlib.import_module(f'spandrel.architectures.{package}') for package in NETWORKS.values()
        }
    except Exception:  # it is not installed, or does not work with what is: nothing else needs it
        return
    for name, package in NETWORKS.items():
        if hasattr(packages[package], name) and f'{name}_basicsr' not in ARCH_REGISTRY:
            # not ``register``: some classes have another name than the one that spandrel gives them
            ARCH_REGISTRY._do_register(name, getattr(packages[package], name), suffix='basicsr')
