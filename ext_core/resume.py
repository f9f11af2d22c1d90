"""Find and load the state that a run continues from."""

from pathlib import Path

from basicsr.utils import check_resume

from ext_core.checkpoint import load_checkpoint
from ext_core.errors import UserError


def load_resume_state(opt: dict, say=print) -> dict | None:
    """The training state of ``--auto_resume`` or ``path:resume_state``, with the options pointed to its weights.

    ``--auto_resume`` takes the newest iteration whose state and weights all load, and says which it had to skip.

    Args:
        opt (dict): Resolved options; ``path`` is changed as BasicSR's ``check_resume`` does.
        say (Callable[[str], None]): Gets a line for each broken checkpoint.

    Returns:
        dict | None: The state, or None where there is nothing to continue from.

    Raises:
        UserError: If states exist but none can be loaded, or ``path:resume_state`` cannot.
    """
    if opt['auto_resume']:
        state = _newest_whole_state(opt, say)
    else:
        path = opt['path'].get('resume_state')
        state = load_checkpoint(Path(path)) if path else None
    if state is not None:
        own_models = opt['path']['models']
        # the weights stand beside the state, also where that is another experiment's
        opt['path']['models'] = str(Path(opt['path']['resume_state']).resolve().parents[1] / 'models')
        check_resume(opt, state['iter'])
        opt['path']['models'] = own_models
    return state


def saved_networks(opt: dict) -> list[str]:
    """The ``network_*`` sections whose weights a resumed run loads, as BasicSR's ``check_resume`` has it."""
    ignored = opt['path'].get('ignore_resume_networks') or ()
    return [key for key in opt if key.startswith('network_') and opt[key] is not None and key not in ignored]


def _newest_whole_state(opt: dict, say) -> dict | None:
    folder = Path(opt['path']['training_states'])
    iterations = sorted((int(path.stem) for path in folder.glob('*.state') if path.stem.isdigit()), reverse=True)
    for iteration in iterations:
        path = folder / f'{iteration}.state'
        try:
            state = load_checkpoint(path)
            for key in saved_networks(opt):
                load_checkpoint(Path(opt['path']['models']) / f'net_{key.removeprefix("network_")}_{iteration}.pth')
        except UserError as error:
            say(f'--auto_resume: skipping iteration {iteration}: {error}')
            continue
        opt['path']['resume_state'] = str(path)
        return state
    if iterations:
        raise UserError(
            f'--auto_resume: none of the {len(iterations)} states in {folder} can be loaded. Move the '
            'folder away to start afresh, or put a whole checkpoint back.'
        )
    return None
