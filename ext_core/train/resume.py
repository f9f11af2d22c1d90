"""What a run continues from: the state, the experiment's folder, and TensorBoard's curves.

BasicSR is imported where it is needed: who only reads curves can do without.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ext_core.errors import UserError
from ext_core.networks.weight_files import load_checkpoint, option_file_in
from ext_core.options import yaml_safe
from ext_core.train.checkpoint import manifest_file, numbered, verify


def load_resume_state(opt: dict, say: Callable[[str], object] = print) -> dict | None:
    """The training state of ``--auto_resume`` or ``path:resume_state``, with the options pointed to its weights.

    ``--auto_resume`` takes the newest whole iteration, and says which it had to skip: all files that its manifest names
    have their checksums; or, where BasicSR or an earlier version of ours wrote no manifest, state and weights load.
    Before the first one it takes ``path:resume_state``. The first process chooses for all: checksums are read once, and
    no two can choose differently.

    Args:
        opt (dict): Resolved options; ``path`` is changed as BasicSR's ``check_resume`` does.
        say (Callable[[str], object]): Gets a line for each broken checkpoint.

    Returns:
        dict | None: The state, or None where there is nothing to continue from.

    Raises:
        UserError: If states exist but none can be loaded, or ``path:resume_state`` cannot.
    """
    from basicsr.utils import check_resume

    path_opt = opt['path']

    def choose() -> dict | None:
        return (_newest_whole(opt, say) if opt['auto_resume'] else None) or _named(opt)

    if not opt.get('dist'):
        state = choose()
    else:
        state, problem = None, None
        if opt['rank'] == 0:
            try:
                state = choose()
            except UserError as error:
                problem = str(error)
        answer = [path_opt.get('resume_state') if state is not None else None, problem]
        dist.broadcast_object_list(answer)
        path, problem = answer
        if problem is not None:
            raise UserError(problem)
        if opt['rank'] != 0 and path is not None:
            path_opt['resume_state'] = path
            state = load_checkpoint(path)
    if state is None:
        return None
    own_models = path_opt['models']
    # the weights stand beside the state, also where that is another experiment's
    path_opt['models'] = str(Path(path_opt['resume_state']).resolve().parents[1] / 'models')
    check_resume(opt, state['iter'])
    path_opt['models'] = own_models
    # what the options say of the pretrained weights' layers and key does not hold for the run's own checkpoints
    for suffix in _saved_networks(opt):
        path_opt.pop(f'strict_load_{suffix}_except', None)
        if f'param_key_{suffix}' in path_opt:
            path_opt[f'param_key_{suffix}'] = 'params'
    return state


def _saved_networks(opt: dict) -> list[str]:
    """The networks ('g', 'd') whose weights a resumed run loads, as BasicSR's ``check_resume`` has it."""
    ignored = opt['path'].get('ignore_resume_networks') or ()
    sections = [key for key in opt if key.startswith('network_') and opt[key] is not None and key not in ignored]
    return [key.removeprefix('network_') for key in sections]


def _named(opt: dict) -> dict | None:
    """The state of ``path:resume_state``."""
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
    state = load_checkpoint(path)
    if absent := {'epoch', 'iter', 'optimizers', 'schedulers'} - state.keys():
        raise UserError(
            f'path:resume_state: {path} is no training state: it lacks {", ".join(sorted(absent))}. Name a .state file '
            'in the folder training_states. To start from weights, name them in path:pretrain_network_g.'
        )
    return state


def _newest_whole(opt: dict, say: Callable[[str], object]) -> dict | None:
    """The state that ``--auto_resume`` finds; ``path:resume_state`` names it then."""
    folder = Path(opt['path']['training_states'])
    for iteration in numbered(folder, '.state', '.json'):
        path = folder / f'{iteration}.state'
        weights = [Path(opt['path']['models']) / f'net_{name}_{iteration}.pth' for name in _saved_networks(opt)]
        try:
            if manifest_file(folder, iteration).is_file():
                verify(folder, iteration, weights)
            state = load_checkpoint(path)
            if state.get('iter') != iteration:
                raise UserError(f'{path} is the state of iteration {state.get("iter")}.')
            for file in weights:
                load_checkpoint(file)
        except UserError as error:
            say(f'--auto_resume: skipping iteration {iteration}: {error}')
            continue
        opt['path']['resume_state'] = str(path)
        return state
    if states := numbered(folder, '.state'):
        raise UserError(
            f'--auto_resume: none of the {len(states)} states in {folder} can be loaded. Move the '
            'folder away to start afresh, or put a whole checkpoint back.'
        )
    return None


def compare_options(opt: dict, given: dict, state: dict, say: Callable[[str], object]) -> None:
    """Say what has changed since the experiment's option file was saved, and whether it takes effect.

    Args:
        opt (dict): Resolved options, after :func:`load_resume_state`.
        given (dict): Options as the files and the command line have them: what an experiment's option file holds.
        state (dict): The state that is resumed.
        say (Callable[[str], object]): Gets a line for each key.

    Raises:
        UserError: If an optimizer or schedule is of another type, without ``--reset_optim``; with ``--auto_resume`` if
            a network is another one.
    """
    from ext_core.networks.files import bound_arguments

    file = option_file_in(Path(opt['path']['resume_state']).resolve().parents[1])
    try:
        saved = yaml_safe.read(file) if file else {}
        ignored = opt['path'].get('ignore_resume_networks') or ()
        networks = {key for key in (*saved, *given) if key.startswith('network_') and key not in ignored}
        before, now = (
            {key: {'type': side[key]['type'], **bound_arguments(side[key])} for key in networks if side.get(key)}
            for side in (saved, given)
        )
    except (UserError, KeyError, TypeError):
        return  # not written by a run, or of networks that are gone
    if '_base_' in saved or not saved:
        return
    others = [f'{path} was {old}, is {new}' for path, old, new in changes(before, now)]
    own = Path(opt['path']['resume_state']).parent == Path(opt['path']['training_states'])
    if others and own and opt['auto_resume']:
        raise UserError(
            f'--auto_resume: {opt["path"]["resume_state"]} is of other networks: {"; ".join(others)}. Put the options '
            'back, or give this run another name. path:resume_state goes on from that file all the same.'
        )
    for line in others:
        say(f'resumed: {line}: the weights are taken as they are.')
    fresh = opt.get('reset_optim')
    for path, old, new in changes(saved.get('train'), given.get('train'), 'train'):
        change = f'{path} was {old}, is {new}'
        if fresh or not re.match(r'train:(optim_\w+|scheduler)\b', path):
            say(f'resumed: {change}: takes effect from iteration {state["iter"] + 1} on.')
        elif path.endswith(':type'):
            raise UserError(f'{change}, but the state holds that of the other type. {_AFRESH}')
        else:
            say(f'resumed: {change}: no effect, since the state holds optimizers and schedules. {_AFRESH}')


_AFRESH = 'Put it back, or add --reset_optim, which begins with new optimizers and schedules.'


def changes(old: Any, new: Any, path: str = '') -> Iterator[tuple[str, Any, Any]]:
    """Where two sections differ: colon path, former and present value. Left out is the same as ``~``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from changes(old.get(key), new.get(key), f'{path}:{key}' if path else str(key))
    elif old != new:
        yield path, old, new


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
    checkpoints = [*root.glob('models/*.pth'), *root.glob('training_states/*.state')]
    takes_over = opt['auto_resume'] and root.is_dir() and not checkpoints
    if opt['dist']:
        dist.barrier()  # all have looked
    if state is None and not takes_over:
        make_exp_dirs(opt)
    elif opt['rank'] == 0:
        for key in ('experiments_root', 'models', 'training_states', 'visualization'):
            os.makedirs(opt['path'][key], exist_ok=True)  # resumed from another experiment's state
    if opt['dist']:
        dist.barrier()
    return state is not None or takes_over


def forget_from(tb_logger: Any, step: int) -> None:
    """Let TensorBoard drop what was written so far of this step and later ones, because they are trained again.

    The files keep it: readers (TensorBoard, its ``EventAccumulator``) skip it when they meet the mark that this writes,
    the same that ``SummaryWriter(purge_step=...)`` writes into a new file.

    Args:
        tb_logger (SummaryWriter | None): None writes nothing.
        step (int): First iteration to be trained again.
    """
    if tb_logger is None:
        return
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    tb_logger.file_writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)), step)
