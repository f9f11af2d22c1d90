"""The experiment's folder at the start of a training, with several processes and after their restart."""

import os
from pathlib import Path


def make_folders(opt: dict, state: dict | None) -> bool:
    """Make the experiment's folders, on rank 0.

    An experiment of that name is moved to ``<name>_archived_<time>`` unless this run continues it. With
    ``--auto_resume``, one that has not come to its first checkpoint is taken over: so torchrun's restarts leave no row
    of archived folders behind.

    Returns:
        bool: Whether this run goes on in what was there, its log and curves included; the same on all ranks.
    """
    from basicsr.utils import make_exp_dirs

    root = Path(opt['path']['experiments_root'])
    takes_over = opt['auto_resume'] and root.is_dir() and not _checkpoints(root)
    if opt['dist']:
        import torch.distributed as dist

        dist.barrier()  # all have looked
    if state is None and not takes_over:
        make_exp_dirs(opt)
    elif opt['rank'] == 0:
        for key in ('experiments_root', 'models', 'training_states', 'visualization'):
            os.makedirs(opt['path'][key], exist_ok=True)  # resumed from another experiment's state
    if opt['dist']:
        dist.barrier()
    return state is not None or takes_over


def _checkpoints(root: Path) -> list[Path]:
    return [*root.glob('models/*.pth'), *root.glob('training_states/*.state')]
