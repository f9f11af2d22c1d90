"""Patches for reading LMDB: one environment per folder and process, errors that name what is broken, and
``filename_tmpl``."""

import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.file_client import BaseStorageBackend, FileClient, LmdbBackend

from ext_core.compat.patch import cures, rebind
from ext_core.errors import UserError

_ENVIRONMENTS: dict[str, tuple[int, Any]] = {}  # real path -> (process, environment)


def shared_environment(path: str, **options: Any) -> Any:
    """The LMDB environment of a folder, opened at most once per process, as LMDB demands.

    Args:
        path (str): LMDB folder.
        options (Any): Arguments of ``lmdb.open``, used when the environment is not open yet.

    Returns:
        lmdb.Environment: Open in this process.

    Raises:
        UserError: If the folder is not an LMDB or its data file is truncated.
    """
    import lmdb

    key, process, data = os.path.realpath(path), os.getpid(), Path(path) / 'data.mdb'
    owner, environment = _ENVIRONMENTS.get(key, (None, None))
    if owner == process:
        return environment
    if environment is not None:
        environment.close()  # inherited by fork; the parent's stays open. LMDB refuses to open it again otherwise
    if not data.is_file():
        raise UserError(f'{path} is not an LMDB: it has no data.mdb. Correct the dataroot, or create the LMDB again.')
    try:
        environment = lmdb.open(key, **options)  # LMDB knows open ones by their name
    except lmdb.Error as error:
        raise UserError(f'LMDB {path} cannot be opened: {error}. Create it again.') from error
    expected = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    if data.stat().st_size < expected:  # reading beyond the end of a mapped file kills the process with SIGBUS
        environment.close()
        raise UserError(
            f'LMDB {path} is truncated: data.mdb has {data.stat().st_size} bytes of {expected}. Copy it again.'
        )
    _ENVIRONMENTS[key] = (process, environment)
    return environment


class SharedLmdbBackend(BaseStorageBackend):
    """Storage backend 'lmdb' of BasicSR's FileClient on shared environments.

    It keeps paths only, so that it survives a fork and can be pickled.

    Args:
        db_paths (str | list[str]): LMDB folders.
        client_keys (str | list[str]): Name of each. Default: 'default'.
        readonly (bool): As in ``lmdb.open``. Default: True.
        lock (bool): As in ``lmdb.open``. Default: False.
        readahead (bool): As in ``lmdb.open``. Default: False.
        kwargs (Any): Further arguments of ``lmdb.open``.

    Raises:
        UserError: If a folder is not an LMDB or is truncated.
    """

    def __init__(
        self,
        db_paths: str | list[str],
        client_keys: str | list[str] = 'default',
        readonly: bool = True,
        lock: bool = False,
        readahead: bool = False,
        **kwargs: Any,
    ) -> None:
        keys = [client_keys] if isinstance(client_keys, str) else client_keys
        self.db_paths = [str(path) for path in (db_paths if isinstance(db_paths, list) else [db_paths])]
        if len(keys) != len(self.db_paths):
            raise ValueError(f'client_keys and db_paths differ in length: {len(keys)} and {len(self.db_paths)}')
        self._paths = dict(zip(keys, self.db_paths, strict=True))
        self._options = {'readonly': readonly, 'lock': lock, 'readahead': readahead, **kwargs}
        for path in self.db_paths:
            shared_environment(path, **self._options)

    def get(self, filepath: str, client_key: str = 'default') -> bytes:
        """Value of the LMDB key ``filepath`` in the LMDB named ``client_key``.

        Raises:
            UserError: If the LMDB does not hold the key, or is damaged there.
        """
        import lmdb

        path = self._paths[client_key]
        try:
            with shared_environment(path, **self._options).begin(write=False) as transaction:
                value = transaction.get(str(filepath).encode())
        except lmdb.Error as error:  # a key that cannot be one, or a damaged page
            raise UserError(f"LMDB {path}: the key '{filepath}' cannot be read: {error}. Create it again.") from error
        if value is None:
            raise UserError(
                f"LMDB {path} does not hold the key '{filepath}', which its meta_info.txt names. Create it again."
            )
        return value

    def get_text(self, filepath: str) -> str:
        """Not supported: an LMDB holds encoded images."""
        raise NotImplementedError


@cures(
    "the same LMDB in two datasets or in workers: 'already open in this process'; a truncated one kills the "
    'process (SIGBUS); a missing key is None',
    lambda: importlib.util.find_spec('lmdb') is not None,
)
def lmdb() -> None:
    FileClient._backends['lmdb'] = SharedLmdbBackend
    rebind(LmdbBackend, SharedLmdbBackend)


@cures(
    "pairs in LMDBs whose keys differ by filename_tmpl, such as 0 and 0x4: 'Keys in lq_folder and gt_folder are "
    "different.'"
)
def lmdb_template() -> None:
    stock = PairedImageDataset.__init__

    @functools.wraps(stock)
    def __init__(self: Any, opt: dict) -> None:
        template = opt.get('filename_tmpl') or '{}'
        if opt['io_backend'].get('type') != 'lmdb' or template == '{}':
            stock(self, opt)
            return
        stock(self, opt | {'dataroot_lq': opt['dataroot_gt']})  # whose keys are alike
        self.opt, self.lq_folder = opt, opt['dataroot_lq']
        self.io_backend_opt['db_paths'] = [self.lq_folder, self.gt_folder]
        for paths in self.paths:
            paths['lq_path'] = template.format(paths['gt_path'])

    PairedImageDataset.__init__ = __init__
