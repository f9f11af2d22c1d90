"""Find and load the state that a run continues from."""

from collections.abc import Callable
from pathlib import Path

import torch
from basicsr.utils import check_resume

from ext_core.errors import UserError
from ext_core.saving.checkpoint import load_checkpoint
from ext_core.saving.manifest import manifest_file, numbered, verify


def load_resume_state(opt: dict, say: Callable[[str], object] = print) -> dict | None:
    """The training state of ``--auto_resume`` or ``path:resume_state``, with the options pointed to its weights.

    ``--auto_resume`` takes the newest whole iteration, and says which it had to skip: all files that its manifest names
    have their checksums; or, where BasicSR or an earlier version of ours wrote no manifest, state and weights load. The
    first process chooses for all.

    Args:
        opt (dict): Resolved options; ``path`` is changed as BasicSR's ``check_resume`` does.
        say (Callable[[str], object]): Gets a line for each broken checkpoint.

    Returns:
        dict | None: The state, or None where there is nothing to continue from.

    Raises:
        UserError: If states exist but none can be loaded, or ``path:resume_state`` cannot.
    """
    state = _chosen_by_the_first(opt, say) if opt.get('dist') else _chosen(opt, say)
    if state is not None:
        own_models = opt['path']['models']
        # the weights stand beside the state, also where that is another experiment's
        opt['path']['models'] = str(Path(opt['path']['resume_state']).resolve().parents[1] / 'models')
        check_resume(opt, state['iter'])
        _take_weights_whole(opt)
        opt['path']['models'] = own_models
    return state


def saved_networks(opt: dict) -> list[str]:
    """The ``network_*`` sections whose weights a resumed run loads, as BasicSR's ``check_resume`` has it."""
    ignored = opt['path'].get('ignore_resume_networks') or ()
    return [key for key in opt if key.startswith('network_') and opt[key] is not None and key not in ignored]


def _take_weights_whole(opt: dict) -> None:
    """What the options say of the pretrained weights' layers and key does not hold for the run's own checkpoints."""
    path_opt = opt['path']
    for suffix in (key.removeprefix('network_') for key in saved_networks(opt)):
        path_opt.pop(f'strict_load_{suffix}_except', None)
        if path_opt.get(f'param_key_{suffix}', '') is None:
            path_opt[f'param_key_{suffix}'] = 'params'


def _chosen_by_the_first(opt: dict, say: Callable[[str], object]) -> dict | None:
    """Checksums are read once; and processes that chose by themselves might choose differently."""
    state: dict | None = None
    answer: list[str | None] = [None, None]  # the state's path, or a problem
    if opt['rank'] == 0:
        try:
            state = _chosen(opt, say)
            answer[0] = opt['path'].get('resume_state') if state is not None else None
        except UserError as error:
            answer[1] = str(error)
    torch.distributed.broadcast_object_list(answer)
    path, problem = answer
    if problem is not None:
        raise UserError(problem)
    if opt['rank'] != 0 and path is not None:
        opt['path']['resume_state'] = path
        state = load_checkpoint(path)
    return state


def _chosen(opt: dict, say: Callable[[str], object]) -> dict | None:
    if opt['auto_resume']:
        return _newest_whole_state(opt, say)
    path = opt['path'].get('resume_state')
    if not path:
        return None
    states, name = Path(path).parent, Path(path).stem
    if name.isdecimal() and manifest_file(states, int(name)).is_file():
        try:
            verify(states, int(name))
        except UserError as error:
            raise UserError(
                f'path:resume_state: {error} Name the state of another iteration, or put the files back.'
            ) from error
    return load_checkpoint(path)


def _newest_whole_state(opt: dict, say: Callable[[str], object]) -> dict | None:
    folder = Path(opt['path']['training_states'])
    for iteration in numbered(folder, '.state', '.json'):
        try:
            state = _whole_state(opt, folder, iteration)
        except UserError as error:
            say(f'--auto_resume: skipping iteration {iteration}: {error}')
            continue
        opt['path']['resume_state'] = str(folder / f'{iteration}.state')
        return state
    if states := numbered(folder, '.state'):
        raise UserError(
            f'--auto_resume: none of the {len(states)} states in {folder} can be loaded. Move the '
            'folder away to start afresh, or put a whole checkpoint back.'
        )
    return None


def _whole_state(opt: dict, folder: Path, iteration: int) -> dict:
    names = [key.removeprefix('network_') for key in saved_networks(opt)]
    weights = [Path(opt['path']['models']) / f'net_{name}_{iteration}.pth' for name in names]
    if manifest_file(folder, iteration).is_file():
        verify(folder, iteration, weights)
    state = load_checkpoint(folder / f'{iteration}.state')
    if state.get('iter') != iteration:
        raise UserError(f'{folder / f"{iteration}.state"} is the state of iteration {state.get("iter")}.')
    for path in weights:
        load_checkpoint(path)
    return state
