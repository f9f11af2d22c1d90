"""Names in option files, looked up in BasicSR's registries."""

from typing import Any

SUFFIX = '_basicsr'  # behind the names that BasicSR keeps for others to take


def look_up(registry: Any, name: Any) -> Any:
    """What a registry holds under a name, with or without the suffix, or None. Prints nothing, as ``get`` does."""
    entries = dict(iter(registry))
    return entries.get(name) or entries.get(f'{name}{SUFFIX}') if isinstance(name, str) else None


def registered(registry: Any, section: Any) -> Any:
    """What the ``type`` of an option section names in a registry, or None."""
    return look_up(registry, section.get('type')) if isinstance(section, dict) else None
