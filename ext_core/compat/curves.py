"""Patch for the services that curves are sent to."""

import functools
import secrets
from typing import Any

from basicsr.utils import logger

from ext_core.compat.patch import Patch, contains, rebind


def _cure_wandb_id() -> None:
    stock = logger.init_wandb_logger

    @functools.wraps(stock)
    def init_wandb_logger(opt: dict[str, Any]) -> None:
        import wandb  # only now: it may be absent, and takes long

        if not hasattr(wandb.util, 'generate_id'):
            wandb.util.generate_id = lambda: secrets.token_hex(4)
        stock(opt)

    rebind(stock, init_wandb_logger)


PATCHES = [
    Patch(
        'wandb_id',
        "with recent versions of wandb (0.31) a training ends at once: 'wandb.util' has no attribute 'generate_id'",
        lambda: contains(logger.init_wandb_logger, 'wandb.util.generate_id()'),
        _cure_wandb_id,
    ),
]
