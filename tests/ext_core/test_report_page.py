"""The page of a report: its figures are those of the event files, its texts are escaped, and it works in a browser."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from browser_session import Session, needs_browser, session
from report_experiments import make_experiment, options, save_picture, step_line, write_curves
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ext_core.use import report_page
from ext_core.use.experiments import Experiment, plots_of, read_experiments
from ext_core.use.report_page import page
from ext_core.use.report_pictures import pictures, sources

EVIL = '</script><img src=x onerror=alert(1)>&"'
LOG = '2026-01-02 03:04:00,000 INFO: Start training from epoch: 0, iter: 0\n' + step_line(10, 10, '2e-4', '')


def trainings(root: Path) -> list[Experiment]:
    """Two, with curves, learning rates and pictures."""
    folders = []
    for seed, name in enumerate(('a', 'b')):
        folders.append(make_experiment(root, name, options(name, manual_seed=seed), LOG))
        values = np.random.default_rng(seed).random(100)
        loss = {10 * n: float(value) for n, value in enumerate(values, 1)}
        write_curves(root / 'tb_logger' / name, {'losses/l_pix': loss, 'metrics/S/psnr': {500: 28 + seed, 1000: 27.5}})
        save_picture(folders[-1] / 'visualization' / 'cat' / 'cat_10.png', seed)
    return read_experiments(folders)


def made(experiments: list[Experiment], notes: tuple[str, ...] = (), title: str = 'title') -> str:
    curves = plots_of([entry.curves for entry in experiments])
    crops, _ = pictures(sources(experiments, 4), crop=32)
    return page(experiments, curves, crops, notes, title)


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found
    return json.loads(found.group(1))


def tags_of(text: str) -> list[str]:
    return re.findall(r'<figcaption>([^<]*)</figcaption>', text)


def test_curves_are_those_of_the_event_files(tmp_path):
    text = made(trainings(tmp_path))
    content = data_of(text)
    assert tags_of(text) == ['metrics/S/psnr', 'l_pix', 'lr']
    for number, name in enumerate(('a', 'b')):
        events = EventAccumulator(str(tmp_path / 'tb_logger' / name), size_guidance={'scalars': 0}).Reload()
        for tag, plot in zip(('metrics/S/psnr', 'losses/l_pix'), content['plots'], strict=False):
            written = [(event.step, event.value) for event in events.Scalars(tag)]
            curve = plot[number]
            assert curve['experiment'] == number
            assert list(zip(curve['steps'], curve['values'], strict=True)) == written
    assert [curve['values'] for curve in content['plots'][2]] == [[2e-4], [2e-4]]
    cells = re.sub(r'<[^>]*>|\s+', ' ', text)
    assert 'best 28.0000 at 500' in re.sub(r' +', ' ', cells)
    assert 'last 27.5000 at 1,000' in re.sub(r' +', ' ', cells)


def test_every_text_is_escaped(tmp_path):
    opt = options('a', model_type=EVIL, datasets={'val': {EVIL: EVIL}})
    experiment = read_experiments([make_experiment(tmp_path, 'a', opt, LOG)])[0]
    experiment.name = EVIL
    experiment.curves = {f'metrics/{EVIL}/psnr': {1: 2.0}}
    text = made([experiment], (EVIL,), EVIL)
    assert '<img' not in text.replace('<wbr>', '').replace('<img class=', '')
    assert text.count('</script>') == 3
    assert data_of(text)['experiments'][0]['name'] == EVIL
    assert text.replace('<wbr>', '').count('&lt;img src=x onerror=alert(1)&gt;') > 5


def test_values_that_are_not_finite_and_long_curves(tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, 'POINTS', 4)
    experiment = read_experiments([make_experiment(tmp_path, 'a', options('a'), LOG)])[0]
    experiment.curves = {'l_pix': {1: math.nan, 2: math.inf, 3: -math.inf}, 'l_tv': {n: n / 2 for n in range(1, 10)}}
    text = made([experiment])
    (bad,), (long,) = data_of(text)['plots']
    assert bad['values'] == ['NaN', 'Infinity', '-Infinity']
    assert long == {'experiment': 0, 'steps': [3, 6, 9], 'values': [1.5, 3.0, 4.5]}
    assert 'Curves of more than 4 points are thinned' in text


# ---------------------------------------------------------------------- in a browser
def centre(browser: Session, selector: str) -> tuple[float, float, float]:
    """The middle of an element in the window, and its width."""
    browser.evaluate(f'document.querySelector("{selector}").scrollIntoView({{block: "center"}}); 0')
    browser.drawn()
    box = f'(box => [box.x + box.width / 2, box.y + box.height / 2, box.width])(document.querySelector("{selector}")'
    return tuple(browser.evaluate(f'{box}.getBoundingClientRect())'))


@needs_browser
def test_page_works_in_a_browser(tmp_path):
    """No complaints and no requests; switches, smoothing, logarithm, hover and divider by mouse and keys."""
    file = tmp_path / 'report.html'
    file.write_text(made(trainings(tmp_path)), encoding='utf-8')
    lines = 'document.querySelectorAll(".plot")[1].querySelectorAll("path.curve").length'
    legend = 'document.querySelectorAll(".plot")[1].querySelector(".legend").textContent'
    labels = 'document.querySelectorAll(".plot")[1].querySelector("svg").textContent'
    path = 'document.querySelectorAll(".plot")[1].querySelector("path.curve").getAttribute("d")'
    with session(tmp_path) as browser:
        browser.open(file)
        assert browser.evaluate(lines) == 2
        assert [browser.evaluate(f'document.images[{number}].naturalWidth') for number in (0, 1)] == [32, 32]

        x, y, _ = centre(browser, '#experiments input')
        browser.hover(x, y)
        faint = 'new Set([...document.querySelectorAll(".faint")].map(shape => shape.dataset.experiment))'
        assert browser.evaluate(f'[...{faint}]') == ['1']
        browser.drag((x, y), (x, y))
        assert browser.evaluate(lines) == 1
        assert browser.evaluate('document.querySelectorAll("path.curve[data-experiment=\'0\']").length') == 0
        assert browser.evaluate(legend).startswith('b')
        assert browser.evaluate('document.querySelectorAll("[data-plot=\'1\'] circle").length') == 0
        assert browser.evaluate('document.querySelectorAll("[data-plot=\'0\'] circle").length') == 2

        for button, count in (('#none', 0), ('#all', 2)):
            browser.drag(centre(browser, button)[:2], centre(browser, button)[:2])
            assert browser.evaluate(lines) == count

        before = browser.evaluate(path), browser.evaluate(labels)
        for control in ('#smoothing', '#logarithmic'):
            browser.drag(centre(browser, control)[:2], centre(browser, control)[:2])
        assert browser.evaluate('document.querySelectorAll(".plot")[1].querySelectorAll("path.raw").length') == 2
        assert browser.evaluate(path) != before[0]
        assert browser.evaluate(labels) != before[1]

        assert 'at 1000' in browser.evaluate(legend)
        browser.hover(*centre(browser, "[data-plot='1'] svg")[:2])
        assert re.search(r'at (4|5)\d0$', browser.evaluate(legend))

        x, y, width = centre(browser, '.pair')
        assert browser.evaluate('getComputedStyle(document.querySelector(".pair")).getPropertyValue("--at")') == '50%'
        shown = 'parseFloat(document.querySelector(".pair").style.getPropertyValue("--at"))'
        line = 'document.querySelector(".divider").getBoundingClientRect().x'
        browser.drag((x, y), (x + 0.3 * width, y))
        assert browser.evaluate(shown) == pytest.approx(80, abs=1)
        assert browser.evaluate(line) == pytest.approx(x + 0.3 * width, abs=6)
        for _ in range(3):
            browser.press('ArrowLeft', 37)
        assert browser.evaluate(shown) == pytest.approx(77, abs=1)

        assert browser.requests == []
        assert browser.complaints == []
