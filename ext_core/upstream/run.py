"""An export from beginning to end."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ext_core.upstream.plan import Plan, make_plan
from ext_core.upstream.tree import Checkout


def export(
    root: Path, folder: Path, dry_run: bool = False, overwrite: bool = False, say: Callable[[str], object] = print
) -> None:
    """Write our components, option files and tests into a checkout of BasicSR.

    Args:
        root (Path): Our project.
        folder (Path): The checkout: a clone of BasicSR 1.4.x, without changes of others that are not committed.
        dry_run (bool): Only say what would be written. Default: False.
        overwrite (bool): Replace exported files that were changed since. Default: False.
        say (Callable[[str], object]): Gets the lines of the plan. Default: print.

    Raises:
        UserError: If the checkout is dirty or of something else, or would lose a file. Then nothing is written.
    """
    checkout = Checkout(folder)
    checkout.require_clean()
    plan = make_plan(root, checkout.folder)
    ours = {item.destination: item.text.encode() for item in plan.items}
    checkout.require_free(ours, overwrite)
    content = ours | _edited(plan, checkout)
    states = {name: _state(checkout.read(name), new) for name, new in content.items()}
    _describe(plan, checkout, states, say)
    changes = [name for name, state in states.items() if state != 'unchanged']
    if not changes:
        say('Nothing to do: the export is up to date.')
    elif dry_run:
        say('Nothing was written (--dry-run).')
    else:
        say(f'{len(changes)} files were written.')
    if not dry_run:
        checkout.write(content)


def _edited(plan: Plan, checkout: Checkout) -> dict[str, bytes]:
    """BasicSR's own files after the edits."""
    texts: dict[str, str] = {}
    for edit in plan.edits:
        text = texts[edit.file] if edit.file in texts else (checkout.read(edit.file) or b'').decode('utf-8')
        texts[edit.file] = edit.apply(text)
    return {name: text.encode() for name, text in texts.items()}


def _state(old: bytes | None, new: bytes) -> str:
    if old is None:
        return 'new'
    return 'unchanged' if old == new else 'changed'


def _describe(plan: Plan, checkout: Checkout, states: Mapping[str, str], say: Callable[[str], object]) -> None:
    for item in plan.items:
        note = f' ({item.note})' if item.note else ''
        say(f'{states[item.destination]:<9}  {item.source or "-"} -> {item.destination}{note}')
    for edit in plan.edits:
        say(f'{states[edit.file]:<9}  edit of {edit.file}: {edit.name}, because {edit.why}')
    for name, reason in plan.left:
        say(f'stays here  {name}: {reason}')
    for name in sorted(set(checkout.written) - set(states)):
        if checkout.read(name) is not None:
            say(f'no longer exported  {name}: remove it with git rm if nothing else needs it')
    counts = {state: list(states.values()).count(state) for state in ('new', 'changed', 'unchanged')}
    say(', '.join(f'{number} {state}' for state, number in counts.items()))
