"""The benchmark's figures, what it keeps, and what it does when something goes wrong."""

import contextlib
import io
import multiprocessing
import os
from dataclasses import dataclass
from types import SimpleNamespace

import benchmark_images
import cv2
import numpy as np
import pytest
from processes import on_processes

from ext_core.errors import UserError
from ext_core.use import benchmark
from ext_core.use.benchmark import Benchmark, metrics_of
from ext_core.use.evaluation import read
from ext_core.use.methods import Bicubic, LiteratureBicubic, Nearest, hash_of, read_set, size_of
from ext_core.use.tables import mean

fresh_caches = benchmark_images.fresh_caches
# PSNR and SSIM on Y, border = scale: the LR files by BasicSR's imresize, and the row that papers print
PUBLISHED = {
    ('Set5', 4): ('28.4318/0.8113', '28.4211/0.8104'),
    ('Set5', 3): ('30.4058/0.8690', '30.3924/0.8682'),
    ('Set5', 2): ('33.6786/0.9304', '33.6615/0.9299'),
    ('Set14', 4): ('26.0928/0.7049', '26.0043/0.7027'),
}


@pytest.fixture
def plan(tmp_path) -> Benchmark:
    metrics, _ = metrics_of(['psnr', 'ssim'], rgb=False)
    sets = [benchmark_images.make_set(tmp_path)]
    return Benchmark(sets, [Bicubic('bicubic'), Nearest('nearest')], metrics, tmp_path / 'out')


def run(plan: Benchmark, processes: int = 1) -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        plan.run(processes)
    return said.getvalue().splitlines()


class Counting(Nearest):
    """Says how often it was asked."""

    def __init__(self, name: str = 'counting', version: int = 1):
        super().__init__(name)
        self.version = version
        self.rendered = 0

    def identity(self) -> str:
        return f'counting {self.version}'

    def render(self, place):
        self.rendered += 1
        return super().render(place)


@dataclass
class Deadly(Nearest):
    """Kills its process at the second image, as the system does where memory is short."""

    def render(self, place):
        if place.name == 'second':
            os._exit(9)
        return super().render(place)


# ---------------------------------------------------------------------- figures
@pytest.mark.data
@pytest.mark.parametrize(('name', 'scale'), PUBLISHED)
def test_bicubic_rows_equal_the_published_ones_to_the_last_digit(shared_data, tmp_path, name, scale):
    folder = shared_data / 'bench' / name / f'X{scale}'
    metrics, _ = metrics_of(['psnr', 'ssim'], rgb=False)
    sets = [read_set(name, (folder / 'HR', folder / 'LR'))]
    assert sets[0].scale == scale
    plan = Benchmark(sets, [Bicubic('basicsr'), LiteratureBicubic('literature')], metrics, tmp_path)
    run(plan)
    rows = []
    for values in plan.results().values():
        psnr, ssim = (mean(image[metric] for image in values.values()) for metric in ('psnr', 'ssim'))
        rows.append(f'{psnr:.4f}/{ssim:.4f}')
    assert tuple(rows) == PUBLISHED[name, scale]


@pytest.mark.parametrize('rgb', [False, True])
def test_psnr_and_ssim_equal_those_of_scikit_image(plan, rgb):
    color = pytest.importorskip('skimage.color', reason='needs scikit-image')
    measures = pytest.importorskip('skimage.metrics')
    plan.metrics, _ = metrics_of(['psnr', 'ssim'], rgb=rgb)
    plan.border = 3
    run(plan)
    for place in plan.sets[0].places:
        kept = plan.output / 'runs' / 'bicubic' / 'tiny' / f'{place.name}.png'
        pair = [read(path)[3:-3, 3:-3, ::-1] for path in (kept, place.gt)]
        pair = [image.astype(np.float64) if rgb else color.rgb2ycbcr(image)[..., :1] for image in pair]
        psnr = measures.peak_signal_noise_ratio(*pair, data_range=255)
        ssim = measures.structural_similarity(
            *pair, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2
        )
        values = plan.results()['bicubic', 'tiny'][place.name]
        # BasicSR's luminance is float32 and, like scikit-image's, not rounded
        assert values['psnr'] == pytest.approx(psnr, abs=1e-4)
        assert values['ssim'] == pytest.approx(ssim, abs=1e-5)


def test_border_is_the_scale_unless_given_and_lpips_has_none(plan):
    borders = {}
    for border in (None, 0):
        plan.border = border
        plan.metrics = {'psnr': {'type': 'calculate_psnr'}, 'lpips': benchmark.OUR_METRICS['lpips']}
        task = plan.tasks()['bicubic', 'tiny'][0]
        borders[border] = {metric: options['crop_border'] for metric, (options, _) in task.wanted.items()}
    assert borders == {None: {'psnr': 2, 'lpips': 0}, 0: {'psnr': 0, 'lpips': 0}}


# ---------------------------------------------------------------------- what is kept
def test_nothing_is_measured_twice(plan):
    counting = Counting()
    plan.upscalers = [counting]
    assert run(plan)[0].endswith('2 to measure')
    first = plan.results()
    assert run(plan)[0].endswith('0 to measure')
    assert plan.results() == first
    assert counting.rendered == 2


def test_a_new_metric_or_border_takes_the_kept_images(plan):
    counting = Counting()
    plan.upscalers = [counting]
    run(plan)
    plan.border = 5
    assert run(plan)[0].endswith('2 to measure')
    plan.metrics, _ = metrics_of(['psnr', 'ssim'], rgb=True)
    assert run(plan)[0].endswith('2 to measure')
    assert counting.rendered == 2
    gt = plan.sets[0].places[0].gt
    cv2.imwrite(str(gt), 255 - read(gt))
    hash_of.cache_clear()
    assert run(plan)[0].endswith('1 to measure')
    assert counting.rendered == 2


def test_other_weights_and_other_lr_files_make_new_images(plan):
    for counting in (Counting(version=1), Counting(version=2)):
        plan.upscalers = [counting]
        run(plan)
        assert counting.rendered == 2
    low = plan.sets[0].places[1].low
    cv2.imwrite(str(low), 255 - read(low))
    hash_of.cache_clear()
    run(plan)
    assert counting.rendered == 3


@pytest.mark.parametrize('damage', ['record', 'picture'])
def test_what_was_damaged_is_made_anew(plan, damage):
    run(plan)
    before = plan.results()
    folder = plan.output / 'runs' / 'nearest' / 'tiny'
    (folder / 'first.json').write_text('{"metrics": ')
    if damage == 'picture':
        (folder / 'first.png').write_bytes(b'')
    assert run(plan)[0].endswith('1 to measure')
    assert plan.results() == before


def test_a_picture_that_was_made_without_its_record_is_not_measured(plan, monkeypatch):
    """With other weights: what is left of a run that was stopped between the two."""
    plan.upscalers = [Counting(version=1)]
    run(plan)
    before = plan.results()
    monkeypatch.setattr(benchmark, 'atomic_write_text', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    plan.upscalers = [other := Counting(version=2)]
    other.enlarge = lambda low, scale: 255 - low.repeat(scale, axis=0).repeat(scale, axis=1)
    with pytest.raises(KeyboardInterrupt):
        run(plan)
    monkeypatch.undo()
    plan.upscalers = [Counting(version=1)]
    assert run(plan)[0].endswith('1 to measure')
    assert plan.results() == before
    assert plan.upscalers[0].rendered == 1


# ---------------------------------------------------------------------- what goes wrong
def test_a_metric_and_an_image_that_fail_do_not_lose_the_rest(plan, monkeypatch):
    from basicsr.utils.registry import METRIC_REGISTRY

    def picky(img, img2, crop_border):
        if img.shape[0] == benchmark_images.SIZES['second'][0]:
            raise RuntimeError('too tall')
        return 7.0

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_picky', picky)
    plan.metrics, _ = metrics_of(['picky', 'psnr'], rgb=False)
    broken = Counting('broken')
    monkeypatch.setattr(broken, 'render', lambda place: np.zeros((4, 5, 3), np.uint8))
    plan.upscalers = [broken, Nearest('nearest')]
    run(plan)
    wrong = 'ValueError: the image is 5 x 4 instead of'
    assert plan.failures == [
        *(f'broken, tiny, first, {metric}: {wrong} 64 x 56' for metric in ('picky', 'psnr')),
        *(f'broken, tiny, second, {metric}: {wrong} 48 x 60' for metric in ('picky', 'psnr')),
        'nearest, tiny, second, picky: RuntimeError: too tall',
    ]
    values = plan.results()
    assert values['broken', 'tiny'] == {'first': {}, 'second': {}}
    assert values['nearest', 'tiny']['first']['picky'] == 7.0
    assert values['nearest', 'tiny']['second'].keys() == {'psnr'}
    monkeypatch.undo()
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_picky', lambda img, img2, crop_border: 8.0)
    plan.failures.clear()
    assert run(plan)[0].endswith('3 to measure')  # what failed is tried again, and nothing else
    assert not plan.failures
    assert plan.results()['nearest', 'tiny']['second']['picky'] == 8.0


def test_a_metric_without_a_value_is_none_and_done(plan, monkeypatch):
    from basicsr.utils.registry import METRIC_REGISTRY

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_nothing', lambda img, img2, crop_border: float('nan'))
    plan.metrics, _ = metrics_of(['nothing'], rgb=False)
    run(plan)
    assert plan.results()['nearest', 'tiny'] == {'first': {'nothing': None}, 'second': {'nothing': None}}
    assert run(plan)[0].endswith('0 to measure')


def refusal_with_forks(rank: int, plan: Benchmark) -> str:
    """What is said at the end; forked, the processes need not import all anew."""
    forked = multiprocessing.get_context('fork')
    benchmark.multiprocessing = SimpleNamespace(get_context=lambda method: forked)  # type: ignore[attr-defined]
    with pytest.raises(UserError) as refused:
        run(plan, processes=2)
    return str(refused.value)


def test_processes_give_the_same_and_one_that_dies_is_told(plan, tmp_path):
    run(plan)
    serial = plan.results()
    plan.output = tmp_path / 'parallel'
    run(plan, processes=2)
    assert plan.results() == serial
    plan.upscalers = [*plan.upscalers, Deadly('deadly')]
    (said,) = on_processes(refusal_with_forks, plan, count=1, join=False)
    assert 'a process died' in said
    assert {key: plan.results()[key] for key in serial} == serial


# ---------------------------------------------------------------------- sets
def test_hr_images_may_be_larger_by_less_than_the_scale(tmp_path):
    benchmark_images.make_set(tmp_path, 4)
    gt = tmp_path / 'tiny_HR' / 'first.png'
    padded = cv2.copyMakeBorder(read(gt), 0, 3, 0, 1, cv2.BORDER_REFLECT)
    cv2.imwrite(str(gt), padded)
    size_of.cache_clear()
    folders = (tmp_path / 'tiny_HR', tmp_path / 'tiny_LR')
    assert read_set('tiny', folders).places[0].size == (64, 56)
    cv2.imwrite(str(gt), cv2.copyMakeBorder(padded, 0, 1, 0, 0, cv2.BORDER_REFLECT))
    size_of.cache_clear()
    with pytest.raises(UserError, match=r'first.png is 65 x 60, which is not 4 times .*, 16 x 14'):
        read_set('tiny', folders)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda root: (root / 'tiny_LR' / 'first.png').unlink(), 'no pairs of equally named'),
        (lambda root: (root / 'tiny_LR' / 'first.png').write_text('no image'), 'cannot be read as an image'),
        (lambda root: (root / 'tiny_HR').rename(root / 'elsewhere'), 'there is no folder .*tiny_HR'),
    ],
)
def test_bad_sets_are_refused(tmp_path, spoil, message):
    benchmark_images.make_set(tmp_path)
    size_of.cache_clear()
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        read_set('tiny', (tmp_path / 'tiny_HR', tmp_path / 'tiny_LR'))


def test_literature_row_takes_the_luminance_of_grey_files_as_it_is(tmp_path):
    places = benchmark_images.make_set(tmp_path).places
    grey = np.arange(56 * 64, dtype=np.uint32).reshape(56, 64) % 251
    cv2.imwrite(str(places[0].gt), grey.astype(np.uint8))
    method = LiteratureBicubic('literature')
    assert np.array_equal(method.truth(places[0])[..., 0], grey)
    colour = read(places[1].gt).astype(np.float64)
    y = 16 + (65.481 * colour[..., 2] + 128.553 * colour[..., 1] + 24.966 * colour[..., 0]) / 255
    assert np.array_equal(method.truth(places[1])[..., 0], np.round(y))
    flat = np.full((60, 48), 250, np.uint8)
    cv2.imwrite(str(places[1].gt), flat)
    assert np.array_equal(method.render(places[1])[..., 0], np.full((60, 48), 235))
