"""Scenarios: prefetchers, LMDB, operators, metrics."""

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from compat_tools import folder, in_child, raises, scenario

from ext_core.errors import UserError

# --------------------------------------------------------------------------------------------------------------- data


@scenario('prefetch_cpu', 'hangs')
def prefetch_unreadable_sample() -> None:
    from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchDataLoader

    class Broken(list):
        def __getitem__(self, index: int) -> int:
            if index == 1:
                raise UserError('b.png is broken')
            return index

    outcome: list[object] = []

    def consume() -> None:
        prefetcher = CPUPrefetcher(PrefetchDataLoader(1, dataset=Broken([0, 1]), batch_size=1))
        outcome.append(prefetcher.next().item())
        try:
            prefetcher.next()
        except UserError as error:
            outcome.extend([str(error), prefetcher.next()])

    with mock.patch.object(threading, 'excepthook'):  # BasicSR's thread dies with the error
        thread = threading.Thread(target=consume, daemon=True)
        thread.start()
        thread.join(timeout=3)
    assert not thread.is_alive(), 'the training loop hangs'
    assert outcome == [0, 'b.png is broken', None]


class FakeCudaTensor(torch.Tensor):
    """Claims to live on a GPU and notes the streams it is recorded on."""

    streams: list
    is_cuda = True

    def record_stream(self, stream: object) -> None:
        self.streams.append(stream)


@scenario('prefetch_cuda', 'not recorded')
def prefetch_to_cuda() -> None:
    from basicsr.data.prefetch_dataloader import CUDAPrefetcher

    image = torch.zeros(1).as_subclass(FakeCudaTensor)
    image.streams = []
    prefetcher = CUDAPrefetcher.__new__(CUDAPrefetcher)
    prefetcher.batch, prefetcher.stream, prefetcher.loader = {'lq': image, 'path': 'a.png'}, object(), iter([])
    current = mock.Mock()
    with mock.patch.object(torch.cuda, 'current_stream', return_value=current):
        assert prefetcher.next()['lq'] is image
        assert prefetcher.next() is None
    assert image.streams == [current], 'not recorded on the stream that reads it'
    current.wait_stream.assert_called_with(prefetcher.stream)


@contextlib.contextmanager
def lmdb_folder(values: int = 1) -> Iterator[str]:
    import lmdb

    with folder() as path:
        name = str(path / 'gt.lmdb')
        with lmdb.open(name, map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
            for index in range(values):
                transaction.put(f'{index}'.encode(), f'value {index}'.encode() * 500)
        yield name


def _read(name: str, key: str = '0') -> bytes:
    from basicsr.utils import FileClient

    return FileClient('lmdb', db_paths=[name], client_keys=['gt']).get(key, 'gt')


@scenario('lmdb', 'already open in this process')
def lmdb_in_two_datasets() -> None:
    from basicsr.utils import FileClient

    with lmdb_folder() as name:
        first, second = (FileClient('lmdb', db_paths=[name], client_keys=['gt']) for _ in range(2))
        assert first.get('0', 'gt') == second.get('0', 'gt') == b'value 0' * 500


@scenario('lmdb', 'already open in this process')
def lmdb_in_forked_worker() -> None:
    from basicsr.utils import FileClient

    def read_in_worker() -> None:
        assert _read(name) == b'value 0' * 500

    with lmdb_folder() as name:
        client = FileClient('lmdb', db_paths=[name], client_keys=['gt'])
        assert client.get('0', 'gt') == b'value 0' * 500
        in_child(read_in_worker)
        assert client.get('0', 'gt') == b'value 0' * 500  # the parent's stays open


@scenario('lmdb', 'signal 7')
def lmdb_truncated() -> None:
    with lmdb_folder(values=200) as name:
        os.truncate(f'{name}/data.mdb', 3 * 4096)
        in_child(lambda: raises(lambda: [_read(name, str(key)) for key in range(200)], name, 'truncated', 'bytes of'))


@scenario('lmdb', 'no error')
def lmdb_without_key() -> None:
    with lmdb_folder() as name:
        raises(lambda: _read(name, 'lost'), name, "'lost'", 'meta_info.txt')


@scenario('lmdb', 'No such file')
def lmdb_without_data() -> None:
    with folder() as path:
        raises(lambda: _read(str(path)), str(path), 'no data.mdb')


@scenario('lmdb_template', 'are different')
def lmdb_pairs_by_template() -> None:
    from basicsr.data.paired_image_dataset import PairedImageDataset

    with lmdb_folder() as gt, lmdb_folder() as lq:
        for name, line in ((gt, '0.png (8,8,3) 1'), (lq, '0x4.png (2,2,3) 1')):
            Path(name, 'meta_info.txt').write_text(f'{line}\n')
        opt = {'dataroot_gt': gt, 'dataroot_lq': lq, 'filename_tmpl': '{}x4', 'io_backend': {'type': 'lmdb'}}
        assert PairedImageDataset(opt).paths == [{'lq_path': '0x4', 'gt_path': '0'}]


@scenario('image_decoder', "has no attribute 'astype'")
def damaged_image() -> None:
    from basicsr.utils import imfrombytes

    raises(lambda: imfrombytes(b'garbage', float32=True), 'does not decode')


# ---------------------------------------------------------------------------------------------- operators and metrics


@scenario('filter2d', 'view size is not compatible')
def filter_channels_last() -> None:
    from basicsr.models import realesrgan_model, realesrnet_model
    from basicsr.utils import img_process_util

    image, kernel = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 5)
    for module in (img_process_util, realesrgan_model, realesrnet_model):
        expected = module.filter2D(image, kernel)
        assert torch.equal(module.filter2D(image.to(memory_format=torch.channels_last), kernel), expected)


def _niqe(image: np.ndarray) -> float:
    from basicsr.metrics import calculate_metric, calculate_niqe

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        value = calculate_niqe(image, 0)
        again = calculate_metric({'img': image}, {'type': 'calculate_niqe', 'crop_border': 0})
    assert np.array_equal(value, again, equal_nan=True)
    return value


@scenario('niqe', r'min\(\)|SVD did not converge')
def niqe_of_small_image() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3))
    assert np.isfinite(_niqe(noise))
    assert np.isnan(_niqe(noise[:64, :64]))
    assert np.isnan(_niqe(noise[:100, :100]))


@scenario('niqe', 'SVD did not converge')
def niqe_of_flat_image() -> None:
    assert np.isnan(_niqe(np.full((192, 192, 3), 128)))
