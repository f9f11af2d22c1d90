"""A pool of HR images, a folder or an LMDB: what datasets of HR images alone have in common."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from basicsr.data.data_util import paths_from_folder, paths_from_lmdb
from basicsr.utils import FileClient
from torch.utils.data import Dataset

from ext_data.decoding import decode


class HRPool(Dataset):
    """Base of datasets that read ``dataroot_gt`` and nothing else. Subclasses define ``__getitem__``.

    Args:
        opt (dict): Section of the option file, with the keys of ``Options``, and ``phase``, which BasicSR adds.

    Raises:
        OSError: If there are no images.
    """

    @dataclass(kw_only=True)
    class Options:
        """Keys of the section."""

        dataroot_gt: Annotated[str, 'HR images: a folder, or an LMDB.']
        io_backend: Annotated[dict, 'Where the images are: type: disk, or type: lmdb.']

    POOLS = ('dataroot_gt',)  # folders or LMDBs of images whose headers are looked at before the run

    def __init__(self, opt: dict):
        self.opt = opt
        root = opt['dataroot_gt']
        is_lmdb = opt['io_backend']['type'] == 'lmdb'
        self.paths: list[str] = sorted(paths_from_lmdb(root) if is_lmdb else paths_from_folder(root))
        if not self.paths:
            raise FileNotFoundError(f'dataroot_gt: no images in {root}. Put images there, or correct the path.')
        self._client: FileClient | None = None  # opened where it is used: not every backend survives a fork

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, path: str) -> np.ndarray:
        """uint8 BGR (h, w, 3) of a file or key of ``paths``.

        Raises:
            ValueError: If it does not decode; see :func:`ext_data.decoding.decode`.
        """
        if self._client is None:
            backend = dict(self.opt['io_backend'])
            kind = backend.pop('type')
            if kind == 'lmdb':
                backend |= {'db_paths': self.opt['dataroot_gt'], 'client_keys': 'gt'}
            self._client = FileClient(kind, **backend)
        return decode(self._client.get(path, 'gt'), path)


def as_float(image: np.ndarray) -> np.ndarray:
    """float32 in [0, 1] of uint8."""
    return image.astype(np.float32) / 255.0
