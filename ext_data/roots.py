"""Images of one or several folders or LMDBs: their names, how often each is drawn, and their contents."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, TypeVar

from basicsr.utils import FileClient

LONGEST = 50_000_000  # samples of an epoch; their paths are kept in memory
Sample = TypeVar('Sample')


@dataclass(kw_only=True)
class RootOptions:
    """Keys of datasets that read several folders or LMDBs."""

    io_backend: Annotated[dict, 'Where the images are: type: disk, or type: lmdb.']
    dataroot_weights: Annotated[
        list[float] | None,
        'Share of each folder or LMDB of dataroot_gt in the samples, relative to the others, whatever its size; '
        'without it every image is drawn equally often.',
    ] = None
    subfolders: Annotated[bool, 'Read the folders in the folders too.'] = False


def roots_of(value: str | list[str]) -> list[str]:
    """A ``dataroot_*`` key as a list of paths, without slashes at their ends."""
    return [str(Path(root)) for root in (value if isinstance(value, list) else [value])]


def names_in(root: str, is_lmdb: bool, subfolders: bool = False) -> list[str]:
    """Keys of an LMDB, or paths of files relative to their folder; sorted, without hidden files and folders.

    Raises:
        OSError: If it is not there or cannot be read.
    """
    if is_lmdb:
        lines = (Path(root) / 'meta_info.txt').read_text(encoding='utf-8').splitlines()
        return sorted(line.split('.')[0] for line in lines if line.strip())
    found, seen = [], set()
    for folder, inner, files in os.walk(root, onerror=_fail, followlinks=True):
        seen.add(os.path.realpath(folder))  # a link may lead back
        inner[:] = [
            name
            for name in (inner if subfolders else ())
            if not name.startswith('.') and os.path.realpath(os.path.join(folder, name)) not in seen
        ]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in files if not name.startswith('.')]
    return sorted(found)


def _fail(error: OSError) -> None:
    raise error


def partners(gt_names: Iterable[str], lq_names: Iterable[str], template: str, is_lmdb: bool = False) -> dict[str, str]:
    """Name of the low-quality image that belongs to each ground truth, by its place, stem and template.

    The ending is that of the low-quality file; where there is none of this stem, that of the ground truth.

    Raises:
        ValueError: If two low-quality files differ in their endings only.
    """
    if is_lmdb:
        return {name: template.format(name) for name in gt_names}
    known: dict[PurePath, str] = {}
    for name in lq_names:
        stem = PurePath(name).with_suffix('')
        if stem in known:
            raise ValueError(f'{known[stem]} and {name} differ in their endings only. Remove or rename one of them.')
        known[stem] = name
    found = {}
    for path in map(PurePath, gt_names):
        wanted = path.with_name(template.format(path.stem))
        found[str(path)] = known.get(wanted, f'{wanted}{path.suffix}')
    return found


def repeated(groups: Sequence[Sequence[Sample]], weights: Sequence[float] | None) -> list[Sample]:
    """An epoch of the samples of several roots: each once, or with weights at least once and in these shares.

    Raises:
        ValueError: If there is not one weight above 0 for each root, or the epoch would be too long.
    """
    if weights is None:
        return [sample for group in groups for sample in group]
    if len(weights) != len(groups) or min(weights) <= 0:
        raise ValueError(
            f'dataroot_weights must have a number above 0 for each of {len(groups)} folders, but is {list(weights)}.'
        )
    size = max(len(group) / weight for group, weight in zip(groups, weights, strict=True))
    if size * sum(weights) > LONGEST:
        raise ValueError(
            f'dataroot_weights {list(weights)} make an epoch of more than {LONGEST:,} samples. Raise the smallest.'
        )
    found: list[Sample] = []
    for group, weight in zip(groups, weights, strict=True):
        count = round(size * weight)
        found += [group[number * len(group) // count] for number in range(count)]
    return found


class Roots:
    """The images of keys such as ``dataroot_gt`` in a dataset's section.

    Args:
        opt (dict): The section, with the keys of :class:`RootOptions`.
        keys (Sequence[str]): The keys, each a folder or LMDB, or a list of these.
    """

    def __init__(self, opt: dict, *keys: str):
        self.backend = dict(opt['io_backend'])
        self.kind = self.backend.pop('type')
        self.is_lmdb, self.subfolders = self.kind == 'lmdb', opt.get('subfolders') or False
        self.roots = {key: roots_of(opt[key]) for key in keys}
        self.lmdbs = [root for roots in self.roots.values() for root in roots] if self.is_lmdb else []
        self._client: FileClient | None = None  # opened where it is used: not every backend survives a fork

    def names(self, key: str, meta_info_file: str | None = None) -> list[list[str]]:
        """See :func:`names_in`, of each root of a key; or those that a text file lists, of one folder.

        Raises:
            ValueError: If a root cannot be listed, or ``meta_info_file`` is given for several.
            OSError: If there are no images in one.
        """
        if len(self.roots[key]) > 1 and meta_info_file and not self.is_lmdb:
            raise ValueError('meta_info_file lists the images of one folder, but there are several. Remove it.')
        found = []
        for root in self.roots[key]:
            try:
                if meta_info_file is None or self.is_lmdb:
                    names = names_in(root, self.is_lmdb, self.subfolders)
                else:
                    lines = Path(meta_info_file).read_text(encoding='utf-8').splitlines()
                    names = [line.strip().split(' ')[0] for line in lines if line.strip()]
            except OSError as error:
                kind = 'LMDB' if self.is_lmdb else 'folder'
                raise ValueError(
                    f'{key}: the {kind} {root} cannot be listed: {error}. Correct the path or io_backend:type.'
                ) from error
            if not names:
                hint = '' if self.is_lmdb or self.subfolders else ' (subfolders: true reads those in it)'
                raise FileNotFoundError(f'{key}: no images in {root}{hint}. Put images there, or correct the path.')
            found.append(names)
        return found

    def paths(self, key: str, meta_info_file: str | None = None) -> list[list[str]]:
        """:meth:`names`, as :meth:`get` takes them, sorted."""
        groups = zip(self.roots[key], self.names(key, meta_info_file), strict=True)
        return [[joined(root, name) for name in sorted(names)] for root, names in groups]

    def get(self, path: str, *_: Any) -> bytes:
        """The content of ``root/name``; BasicSR's datasets call it as their FileClient."""
        if self._client is None:
            places = {'db_paths': self.lmdbs, 'client_keys': self.lmdbs} if self.is_lmdb else {}
            self._client = FileClient(self.kind, **self.backend, **places)
        if not self.is_lmdb:
            return self._client.get(path)
        root = max((root for root in self.lmdbs if path.startswith(root + os.sep)), key=len)
        return self._client.get(path.removeprefix(root + os.sep).replace(os.sep, '/'), root)


def joined(root: str, name: str) -> str:
    """A path as :meth:`Roots.get` takes it."""
    return str(Path(root) / name)
