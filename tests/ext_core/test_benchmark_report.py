"""Rows, Markdown, the HTML page and costs of a small benchmark."""

import base64
import csv
from html.parser import HTMLParser

import benchmark_images
import cv2
import numpy as np
import pytest
from browser_session import needs_browser, session

from ext_core.use import benchmark_results as benchmark_report
from ext_core.use import cost as benchmark_cost
from ext_core.use.benchmark import Benchmark, metrics_of
from ext_core.use.benchmark_results import Crop, Report, page, pieces_of
from ext_core.use.evaluation import read
from ext_core.use.methods import Bicubic, LiteratureBicubic, Nearest, upscaler_of

fresh_caches = benchmark_images.fresh_caches
VOID = {'meta', 'img', 'br'}


@pytest.fixture
def plan(tmp_path) -> Benchmark:
    metrics, _ = metrics_of(['psnr'], rgb=False)
    sets = [benchmark_images.make_set(tmp_path, 2), benchmark_images.make_set(tmp_path, 4, 'quarter')]
    network = upscaler_of(f'net={benchmark_images.make_experiment(tmp_path / "exp")}', sets)
    methods = [Bicubic('bicubic'), LiteratureBicubic('literature'), Nearest('nearest'), network]
    return Benchmark(sets, methods, metrics, tmp_path / 'out')


@pytest.fixture
def report(plan) -> Report:
    plan.run()
    return Report(plan, {('net', 2): {'parameters': 1234}}, {'pi': 'no <model>\nGet it.'})


class Reader(HTMLParser):
    """Fails on tags that do not match; collects images, links and cells."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict] = []
        self.cells: list[dict] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs)
        self.addresses += [value for key, value in attrs if key in ('src', 'href')]
        if tag not in VOID:
            self.open.append(tag)
        if tag == 'img':
            self.images.append(attributes)
        if tag == 'td':
            self.cells.append(attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def decoded(image: dict) -> np.ndarray:
    data = base64.b64decode(image['src'].removeprefix('data:image/png;base64,'), validate=True)
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


# ---------------------------------------------------------------------- tables
def test_rows_are_means_and_blank_where_a_method_does_not_fit(report, tmp_path):
    assert [(row['set'], row['method']) for row in report.rows] == [
        *(('tiny', name) for name in ('bicubic', 'literature', 'nearest', 'net')),
        *(('quarter', name) for name in ('bicubic', 'literature', 'nearest')),
    ]
    images = report.images['net', 'tiny']
    assert report.rows[3]['psnr'] == pytest.approx(sum(values['psnr'] for values in images.values()) / 2, abs=1e-12)
    assert report.rows[3]['parameters'] == 1234
    assert report.rows[0]['parameters'] is None
    text = benchmark_report.write(report, tmp_path, ['python', 'scripts/evaluate.py', '--set', 'a b'])
    assert text == (tmp_path / 'results.md').read_text()
    assert '| method | psnr ↑ | parameters |' in text
    assert f'| net | {report.rows[3]["psnr"]:.4f} | 1,234 |' in text
    assert '- pi is left out: no <model>\n' in text
    assert "python scripts/evaluate.py --set 'a b'" in text
    with open(tmp_path / 'results.csv', newline='') as file:
        table = list(csv.DictReader(file))
    assert float(table[3]['psnr']) == report.rows[3]['psnr']
    assert table[0]['parameters'] == ''
    with open(tmp_path / 'images.csv', newline='') as file:
        assert len(list(csv.DictReader(file))) == 14


def test_a_mean_needs_all_images(report, plan, monkeypatch):
    images = report.images
    monkeypatch.setattr(plan, 'results', lambda: images)
    del images['net', 'tiny']['first']['psnr']
    plan.failures.append('net, tiny, first, psnr: ValueError: no')
    assert Report(plan, {}, {}).rows[3]['psnr'] is None
    images['net', 'tiny']['first']['psnr'] = None  # too small for the metric
    assert Report(plan, {}, {}).rows[3]['psnr'] == images['net', 'tiny']['second']['psnr']
    assert 'missing: net, tiny, first, psnr: ValueError: no' in Report(plan, {}, {}).missing


# ---------------------------------------------------------------------- page
def test_page_is_whole_and_needs_no_network(report):
    text = page(report, pieces_of(report, Crop(16), 1), 'a <b> & c')
    reader = Reader(text)
    assert 'a &lt;b&gt; &amp; c' in text
    assert 'no &lt;model&gt;' in text
    assert all(address.startswith('data:image/png;base64,') for address in reader.addresses)
    assert 'http' not in text
    # for each set an image: the whole, HR, and the methods that can be shown
    names = [image['alt'] for image in reader.images]
    assert names == ['HR, whole', 'HR', 'bicubic', 'nearest', 'net', 'HR, whole', 'HR', 'bicubic', 'nearest']
    assert {decoded(image).shape for image in reader.images if image['class'] == 'crop'} == {(16, 16, 3)}
    assert len(reader.cells) == len(report.rows) * 5  # set, method, scale, psnr, parameters
    best = [cell['data-value'] for cell in reader.cells if cell['class'] == 'best']
    expected = [max(row['psnr'] for row in report.rows if row['set'] == name and row['method'] != 'literature')
                for name in ('tiny', 'quarter')]  # fmt: skip
    assert [float(value) for value in best] == expected


def test_crop_lies_where_methods_differ_most(report, plan):
    place, runs = plan.sets[0].places[0], plan.output / 'runs'
    changed = read(runs / 'bicubic' / 'tiny' / f'{place.name}.png')
    changed[20:30, 40:50] = 255 - changed[20:30, 40:50]
    cv2.imwrite(str(runs / 'net' / 'tiny' / f'{place.name}.png'), changed)
    piece = next(piece for piece in pieces_of(report, Crop(12), 2) if piece.place == place)
    assert 38 <= piece.left <= 40
    assert 18 <= piece.top <= 20
    found = pieces_of(report, Crop(12, (3, 5)), 2)
    assert {(piece.left, piece.top) for piece in found} == {(3, 5)}
    reader = Reader(page(report, found, 'page'))
    truth = next(image for image in reader.images if image['alt'] == 'HR')
    names = {place.name: read(place.gt) for place in plan.sets[0].places}
    assert any(np.array_equal(decoded(truth), image[5:17, 3:15]) for image in names.values())


# ---------------------------------------------------------------------- costs
def test_parameters_and_multiply_adds_of_the_network_are_counted_once(plan, monkeypatch):
    plan.output.mkdir()
    found = benchmark_cost.costs(plan, rounds=0)
    # MSRResNet, x2, 4 features: convolutions 3-4, two of 4-4, up 4-16, 4-4 and 4-3 at twice the size, with biases
    weights = 9 * (3 * 4 + 2 * 4 * 4 + 4 * 16 + 4 * 4 + 4 * 3)
    assert found['net', 2]['parameters'] == weights + 4 + 8 + 16 + 4 + 3
    low = 1280 * 720 / 4
    expected = 9 * low * (3 * 4 + 2 * 4 * 4 + 4 * 16 + 4 * (4 * 4 + 4 * 3))
    bilinear = 4 * 3 * 1280 * 720
    assert found['net', 2]['multiply_adds'] == pytest.approx(expected + bilinear, rel=1e-12)
    assert found.keys() == {('net', 2)}
    monkeypatch.setattr(benchmark_cost, 'multiply_adds', lambda *_: pytest.fail('counted twice'))
    assert benchmark_cost.costs(plan, rounds=0) == found


def test_times_are_medians_of_alternating_rounds_and_ratios_to_the_network(plan, monkeypatch):
    plan.output.mkdir()
    seconds = {'net': [2.0, 2.0, 4.0], 'bicubic': [1.0, 1.0, 1.0], 'nearest': [0.5, 0.5, 0.5]}
    orders = []

    def alternate(variants, rounds):
        orders.append(list(variants))
        assert rounds == 3
        return {name: seconds[name] for name in variants}

    monkeypatch.setattr(benchmark_cost, 'alternate', alternate)
    found = benchmark_cost.costs(plan, rounds=3)
    assert orders == [['net', 'bicubic', 'nearest'], ['bicubic', 'nearest']]
    pixels = 56 * 64  # of the larger of two images
    assert found['net', 2] | {'seconds': 2.0, 'megapixel': 2e6 / pixels, 'time_ratio': 1.0} == found['net', 2]
    assert found['nearest', 2] == {'seconds': 0.5, 'megapixel': 0.5e6 / pixels, 'time_ratio': 0.25}
    assert found['nearest', 4]['time_ratio'] == 0.5
    assert benchmark_cost.costs(plan, rounds=3) == found
    assert len(orders) == 2


@needs_browser
def test_a_click_on_a_heading_sorts_in_a_browser(report, tmp_path):
    """First upwards, then downwards, by number; the words by their letters."""
    file = tmp_path / 'results.html'
    file.write_text(page(report, pieces_of(report, Crop(16), 1), 'small'), encoding='utf-8')
    script = """(() => {
      const heads = [...document.querySelectorAll('#results th')];
      const column = name => heads.findIndex(head => head.textContent.startsWith(name));
      const read = name => [...document.querySelectorAll('#results tbody tr')].map(
        row => row.cells[column(name)].textContent).join(' ');
      const press = name => heads[column(name)].querySelector('button').click();
      const after = name => (press(name), read(name));
      return [after('psnr'), after('psnr'), after('method'), [...document.images].every(image => image.naturalWidth)];
    })()"""
    with session(tmp_path) as browser:
        browser.open(file)
        up, down, methods, drawn = browser.evaluate(script)
        assert (drawn, browser.complaints) == (True, [])
    values = [float(value) for value in up.split() if value != '–']
    assert values == sorted(values)
    assert len(set(values)) > 2
    assert [float(value) for value in down.split() if value != '–'] == values[::-1]
    assert methods.split() == sorted(methods.split())
