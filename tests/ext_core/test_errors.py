"""Which errors are told in one message, and how it is printed where several processes share a terminal."""

import errno
import io
import sys
from collections.abc import Callable

import pytest
from torch.utils.data import DataLoader, Dataset

from ext_core import errors
from ext_core.errors import UserError, exit_status, print_line, refusal
from ext_data.decoding import ImageError, decode
from ext_data.samples import NamedErrorDataset
from ext_losses.low_pass_loss import LowPassL1Loss


def raised(job: Callable[[], object]) -> Exception:
    """What a job raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        job()
    return caught.value


class Broken(Dataset):
    """Images that cannot be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int):
        raise ValueError('torn')


def fails(error: Exception) -> Callable[[], None]:
    def job() -> None:
        raise error

    return job


def test_what_components_and_we_say_ourselves_is_a_refusal():
    assert refusal(raised(fails(UserError('mend it')))) == 'mend it'
    assert 'filter must be average' in (refusal(raised(lambda: LowPassL1Loss(filter='none'))) or '')
    assert refusal(raised(lambda: decode(b'', 'x.png'))) == 'x.png is empty (0 bytes)'
    assert refusal(raised(fails(ImageError('x.png is grey')))) == 'x.png is grey'


@pytest.mark.parametrize('error', [ValueError('of a library'), OSError('of the system'), TypeError('of a mistake')])
def test_other_errors_keep_their_traceback(error):
    assert refusal(raised(fails(error))) is None


def test_what_the_system_says_of_a_file_is_told_without_a_traceback(tmp_path):
    (tmp_path / 'file').touch()
    error = raised(lambda: (tmp_path / 'file' / 'folder').mkdir())
    assert (refusal(error) or '').startswith(f'{tmp_path / "file" / "folder"}: Not a directory. ')
    assert 'No space left' in (refusal(raised(fails(OSError(errno.ENOSPC, 'No space left')))) or '')


def test_a_component_that_calls_with_nonsense_is_a_mistake():
    error = raised(lambda: LowPassL1Loss(kernel_size=3)(None, None))
    assert refusal(error) is None


def test_of_a_workers_error_its_own_words_are_told():
    error = raised(lambda: list(DataLoader(NamedErrorDataset(Broken()), num_workers=1, multiprocessing_context='fork')))
    told = 'Evaluation images sample 0 cannot be used: ValueError: torn. Replace or delete them.'
    assert 'Traceback' in str(error)
    assert refusal(error) == told
    assert refusal(raised(lambda: list(DataLoader(Broken(), num_workers=1)))) is None


def test_line_is_one_write(monkeypatch):
    class Terminal:
        written: list[str] = []

        def write(self, text: str) -> None:
            self.written.append(text)

        def flush(self) -> None:
            self.written.append('flushed')

    monkeypatch.setattr(sys, 'stderr', Terminal())
    errors.print_line('[rank 1] error: bad option.\nMend it.')
    assert Terminal.written == ['[rank 1] error: bad option.\nMend it.\n', 'flushed']


def test_output_takes_every_character_and_is_there(monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding='cp1252')  # of Windows
    monkeypatch.setattr(sys, 'stdout', pipe)
    monkeypatch.setattr(sys, 'stderr', None)  # of a service
    assert exit_status(lambda: (print('日本.png', flush=True), print_line('said'))) == 0
    assert pipe.buffer.getvalue() == b'\\u65e5\\u672c.png\n'
