"""Who reads which option: dictionaries that note it, and what two options differ in."""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

from ext_core.options.problems import LAUNCHER, LAUNCHER_DATASETS, LAUNCHER_PATHS, section


class Noted(dict):
    """Options that note in ``log`` the colon path of each key that is read.

    ``path:?`` is noted where the keys of a section are listed; ``path:*`` where a component's section is read as a
    whole, or is an argument itself.
    """

    SHALLOW = re.compile(r'(train|val|logger|path|datasets|train:losses|val:metrics|datasets:[^:]*)?')

    def __init__(self, values: dict, log: set[str], path: str = ''):
        self.log, self.path, self.shallow = log, path, bool(self.SHALLOW.fullmatch(path))
        wrapped = {k: Noted(v, log, self.under(k)) if isinstance(v, dict) else v for k, v in values.items()}
        super().__init__(wrapped)

    def under(self, key: object) -> str:
        return f'{self.path}:{key}' if self.path else str(key)

    def keys(self) -> Any:
        self.log.add(self.under('?'))
        return super().keys()

    def __iter__(self) -> Iterator:  # also keeps ** from taking the short way past __getitem__
        return iter(self.keys())

    def copy(self) -> 'Noted':
        twin = Noted({}, self.log, self.path)
        dict.update(twin, dict.items(self))
        return twin

    def __deepcopy__(self, memo: dict) -> 'Noted':
        twin = self.copy()
        dict.update(twin, {key: copy.deepcopy(value, memo) for key, value in dict.items(self)})
        return twin

    def __or__(self, other: Any) -> 'Noted':
        twin = self.copy()
        twin.update(other)
        return twin

    def __reduce__(self) -> tuple:
        return dict, (dict(dict.items(self)),)


def _noting_a_key(name: str) -> Callable:
    def method(self: Noted, key: str, *default: Any) -> Any:
        self.log.add(self.under(key))
        if not self.shallow and isinstance(dict.get(self, key), dict):
            self.log.add(self.under(f'{key}:*'))
        return getattr(dict, name)(self, key, *default)

    return method


def _noting_all(name: str) -> Callable:
    def method(self: Noted) -> Any:
        self.log.add(self.under('?' if self.shallow else '*'))
        return getattr(dict, name)(self)

    return method


for _name in ('__getitem__', '__contains__', 'get', 'pop', 'setdefault'):
    setattr(Noted, _name, _noting_a_key(_name))
for _name in ('items', 'values'):
    setattr(Noted, _name, _noting_all(_name))


def differences(old: dict, new: dict, path: str = '') -> Iterator[str]:
    """Colon paths of what two options differ in, but for what follows from other options."""
    given = {'': LAUNCHER, 'path': LAUNCHER_PATHS}.get(path, LAUNCHER_DATASETS if path.startswith('datasets:') else ())
    for key in [key for key in {**old, **new} if key not in given]:
        before, after, name = old.get(key), new.get(key), f'{path}:{key}' if path else str(key)
        moved = (key in old) != (key in new) and not Noted.SHALLOW.fullmatch(path)  # elsewhere ~ is as absent
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, name)
        elif moved or repr(before) != repr(after):  # 1 and 1.0 differ, as do true and 1
            yield name
            if isinstance(after, dict):
                yield from differences({}, after, name)


def is_read(path: str, opt: dict, log: set[str]) -> bool:
    """Whether a run noticed a key, or that it is not there."""
    above, _, key = path.rpartition(':')
    parts = path.split(':')
    if path in log or any(':'.join([*parts[:depth], '*']) in log for depth in range(1, len(parts))):
        return True
    values = section(opt, *parts[:-1])
    noticed = isinstance(values.get(key), dict) or (key not in values and not Noted.SHALLOW.fullmatch(above))
    return noticed and (f'{above}:?' if above else '?') in log
