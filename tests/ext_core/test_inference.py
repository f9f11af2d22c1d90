"""Many files: what is there stays, bad ones are named, nothing is half-written."""

import os
import threading

import numpy as np
import pytest
import tifffile
from inference_tools import Same, network, noise, repeated
from PIL import Image

from ext_core.errors import UserError
from ext_core.use import batch as inference
from ext_core.use.batch import enlarge_files, failures, summary
from ext_core.use.enlarge import Enlarger
from ext_core.use.image_names import plan
from ext_core.use.photographs import read_photograph
from ext_data.decoding import ImageError


@pytest.fixture
def jobs(tmp_path):
    (tmp_path / 'in').mkdir()
    for index in range(5):
        Image.fromarray(noise(6 + index, 8, 3)).save(tmp_path / 'in' / f'{index}.png')
    return plan([str(tmp_path / 'in')], tmp_path / 'out')[0]


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize('workers', [0, 1, 3])
def test_all_are_made(jobs, workers):
    outcomes = enlarge_files(jobs, Enlarger(network()), workers=workers)
    assert [outcome.status for outcome in outcomes] == ['made'] * 5
    for job, outcome in zip(jobs, outcomes, strict=True):
        assert np.array_equal(pixels(job.target), repeated(pixels(job.source)))
        assert outcome.source == str(job.source)
        assert outcome.result_size == (2 * outcome.size[0], 2 * outcome.size[1])
        megapixels = outcome.result_size[0] * outcome.result_size[1] / 1e6
        assert outcome.seconds_per_megapixel == pytest.approx(outcome.seconds / megapixels)
    failures(outcomes)
    assert summary(outcomes).startswith('5 images made in ')


def test_two_runs_may_make_one_result(jobs, monkeypatch):
    """The other one writes it between our writing and our renaming."""
    whole, sync = Enlarger(network()), os.fsync
    number = os.getpid()

    def other_run(descriptor: int) -> None:
        monkeypatch.setattr(os, 'fsync', sync)
        monkeypatch.setattr(os, 'getpid', lambda: number + 1)
        failures(enlarge_files(jobs[:1], Enlarger(network()), overwrite=True, workers=0))
        monkeypatch.setattr(os, 'getpid', lambda: number)
        sync(descriptor)

    monkeypatch.setattr(os, 'fsync', other_run)
    failures(enlarge_files(jobs[:1], whole, workers=0))
    assert np.array_equal(pixels(jobs[0].target), repeated(pixels(jobs[0].source)))
    assert [path.name for path in jobs[0].target.parent.iterdir()] == ['0.png']


@pytest.mark.parametrize('workers', [0, 2])
def test_bad_files_do_not_stop_the_rest(jobs, workers, monkeypatch):
    jobs[1].source.write_bytes(b'broken')
    jobs[2].target.parent.mkdir()
    jobs[2].target.mkdir()  # cannot be written
    write = inference.encode
    monkeypatch.setattr(inference, 'encode', lambda *a: 1 / 0 if a[0].pixels.shape[0] == 18 else write(*a))
    outcomes = enlarge_files(jobs, Enlarger(network()), workers=workers)
    assert [outcome.status for outcome in outcomes] == ['made', 'failed', 'failed', 'failed', 'made']
    with pytest.raises(
        UserError, match=r'(?s)^3 of 5 images.*1\.png does not decode.*2\.png.*3\.png: ZeroDivisionError'
    ):
        failures(outcomes)
    assert sorted(path.name for path in jobs[0].target.parent.iterdir()) == ['0.png', '2.png', '4.png']


def test_what_is_there_stays_unless_told(jobs):
    enlarge_files(jobs[:2], Enlarger(network()))
    before = [job.target.stat().st_mtime_ns for job in jobs[:2]]
    outcomes = enlarge_files(jobs, Enlarger(network()))
    assert [outcome.status for outcome in outcomes] == ['there', 'there', 'made', 'made', 'made']
    assert [job.target.stat().st_mtime_ns for job in jobs[:2]] == before
    assert '2 there before' in summary(outcomes)
    again = enlarge_files(jobs[:1], Enlarger(network(Same(3))), overwrite=True)
    assert again[0].status == 'made'
    assert pixels(jobs[0].target).shape == (18, 24, 3)


def test_interruption_leaves_whole_files_only(jobs):
    class Stopped(Same):
        def forward(self, x):
            if x[0, 0, 0, 0] == -1:
                raise KeyboardInterrupt
            return super().forward(x)

    enlarger = Enlarger(network(Stopped()))
    run, calls = enlarger.network.run, []

    def until_third(image):
        calls.append(1)
        return run(image if len(calls) < 3 else image.fill_(-1))

    enlarger.network.run = until_third
    with pytest.raises(KeyboardInterrupt):
        enlarge_files(jobs, enlarger)
    made = sorted(jobs[0].target.parent.iterdir())
    assert made == [job.target for job in jobs[:2]]
    assert all(np.array_equal(pixels(job.target), repeated(pixels(job.source))) for job in jobs[:2])
    enlarger.network.run = run
    assert [outcome.status for outcome in enlarge_files(jobs, enlarger)] == ['there', 'there', 'made', 'made', 'made']


def test_writing_goes_on_in_the_background_and_is_bounded(jobs, monkeypatch):
    may_write, calls = threading.Event(), []
    encode = inference.encode

    def waiting(*arguments):
        assert may_write.wait(20)
        return encode(*arguments)

    enlarger = Enlarger(network())
    run = enlarger.network.run

    def watching(image):
        calls.append(1)
        if len(calls) == 3:  # two are held by the two writers
            assert not any(job.target.exists() for job in jobs)
            threading.Timer(0.3, may_write.set).start()
        assert len(calls) <= 3 or may_write.is_set()
        return run(image)

    monkeypatch.setattr(inference, 'encode', waiting)
    enlarger.network.run = watching
    assert [outcome.status for outcome in enlarge_files(jobs, enlarger, workers=2)] == ['made'] * 5


@pytest.mark.parametrize(
    ('dtype', 'channels', 'photometric'), [('float32', 3, 'rgb'), ('uint16', 2, 'minisblack'), ('uint16', 3, 'cielab')]
)
def test_a_tiff_of_a_kind_that_is_not_read_is_not_called_damaged(dtype, channels, photometric, tmp_path):
    layout = {'photometric': photometric, 'extrasamples': ['unassalpha'] if channels == 2 else []}
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((4, 5, channels), dtype), planarconfig='contig', **layout)
    with pytest.raises(
        ImageError, match=rf'a\.tif is a TIFF of {channels} channels of {dtype}, which is not read; conv'
    ):
        read_photograph(tmp_path / 'a.tif')
