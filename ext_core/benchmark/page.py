"""Results of a benchmark as one HTML page that needs no network: a sortable table, and crops side by side."""

import math
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from ext_core.benchmark.pictures import Piece
from ext_core.benchmark.report import Report, failure_lines, shown
from ext_core.images.data_uri import png_data_uri
from ext_core.report.tables import lower_is_better

_ZOOM = 3
_OVERVIEW = 240  # px, width of the picture that shows where the crop is
_STYLE = f"""
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }}
table {{ border-collapse: collapse }}
th, td {{ padding: .25em .7em; border-bottom: 1px solid #ddd; text-align: right }}
th.text, td.text {{ text-align: left }}
th button {{ font: inherit; font-weight: bold; border: 0; background: none; padding: 0; cursor: pointer }}
th[aria-sort=ascending] button::after {{ content: ' ▲' }}
th[aria-sort=descending] button::after {{ content: ' ▼' }}
td.best {{ font-weight: bold }}
.row {{ display: flex; gap: .8em }}
.crops {{ display: flex; flex-wrap: wrap; align-content: flex-start; gap: .8em }}
figure {{ margin: 0 }}
figcaption {{ font-size: 12px }}
img.crop {{ image-rendering: pixelated }}
img.overview {{ width: {_OVERVIEW}px }}
"""
_SCRIPT = """
for (const head of document.querySelectorAll('#results th')) {
  head.querySelector('button').addEventListener('click', () => {
    const column = head.cellIndex;
    const descending = head.getAttribute('aria-sort') === 'ascending';
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
    const key = row => row.cells[column].dataset.value;
    const compare = head.classList.contains('text')
      ? (a, b) => key(a).localeCompare(key(b), undefined, {numeric: true})
      : (a, b) => Number(key(a)) - Number(key(b));
    const body = document.querySelector('#results tbody');
    body.append(...[...body.rows].sort((a, b) => {
      if (key(a) === '' || key(b) === '') return (key(a) === '') - (key(b) === '');
      return descending ? compare(b, a) : compare(a, b);
    }));
  });
}
"""


def page(report: Report, pieces: Sequence[Piece], title: str) -> str:
    """The page.

    Args:
        report (Report): What it shows.
        pieces (Sequence[Piece]): Of its images, from :func:`ext_core.benchmark.pictures.pieces_of`.
        title (str): Its heading.
    """
    parts = [f'<h1>{escape(title)}</h1>', _table(report)]
    parts += [f'<p>{escape(note)}</p>' for note in report.notes]
    missing = [f'{name} is left out: {reason}' for name, reason in report.left_out.items()]
    missing += [f'missing: {line}' for line in failure_lines(report.benchmark)]
    if missing:
        parts.append('<ul>' + ''.join(f'<li>{escape(line)}</li>' for line in missing) + '</ul>')
    parts += [_picture(piece) for piece in pieces]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = '\n'.join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n'
        f'<body>{body}\n<script>{_SCRIPT}</script></body></html>\n'
    )


# ---------------------------------------------------------------------- table
def _table(report: Report) -> str:
    texts = {'set': 'set', 'method': 'method'}
    heads = [_head(title, 'text') for title in texts.values()]
    heads += [_head(title) for title in ('scale', *report.headings.values())]
    best = _best(report)
    rows = []
    for row in report.rows:
        cells = [_cell(row[key], row[key], 'text') for key in texts]
        cells.append(_cell(row['scale'], row['scale']))
        for key in report.headings:
            kind = 'best' if row[key] is not None and row[key] == best.get((row['set'], key)) else ''
            cells.append(_cell(shown(key, row[key]), row[key], kind))
        rows.append(f'<tr>{"".join(cells)}</tr>')
    return (
        f'<table id="results"><thead><tr>{"".join(heads)}</tr></thead>\n'
        f'<tbody>{"".join(rows)}</tbody></table>\n<p>A click on a heading sorts. Bold: the best of a set.</p>'
    )


def _head(title: str, kind: str = '') -> str:
    return f'<th class="{kind}"><button type="button">{escape(title)}</button></th>'


def _cell(text: object, value: object, kind: str = '') -> str:
    data = '' if value is None else 'Infinity' if value == math.inf else escape(str(value))
    return f'<td class="{kind}" data-value="{data}">{escape(str(text))}</td>'


def _best(report: Report) -> dict[tuple[str, str], float]:
    """By set and metric, of the methods that all metrics have a meaning for."""
    comparable = {upscaler.name for upscaler in report.benchmark.upscalers if upscaler.only is None}
    best: dict[tuple[str, str], float] = {}
    for metric, options in report.benchmark.metrics.items():
        choose = min if lower_is_better(options) else max
        for row in report.rows:
            if row[metric] is not None and row['method'] in comparable:
                key = row['set'], metric
                best[key] = choose(best.get(key, row[metric]), row[metric])
    return best


# ---------------------------------------------------------------------- pictures
def _picture(piece: Piece) -> str:
    """A heading, the whole image, and the crops of all methods and the true image."""
    figures = []
    side = piece.size * _ZOOM
    for name, image in piece.images.items():
        figures.append(
            f'<figure><img class="crop" width="{side}" height="{side}" alt="{escape(name)}" '
            f'src="{png_data_uri(image)}">'
            f'<figcaption>{escape(name)}<br>{escape(piece.captions[name])}</figcaption></figure>'
        )
    crops = f'<div class="crops">{"".join(figures)}</div>'
    overview = _overview(piece.whole, piece.left, piece.top, piece.size)
    return f'<h2>{escape(piece.title)}</h2>\n<div class="row">{overview}{crops}</div>'


def _overview(image: np.ndarray, left: int, top: int, size: int) -> str:
    factor = min(1.0, _OVERVIEW / image.shape[1])
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    x, y, side = (round(value * factor) for value in (left, top, size))
    cv2.rectangle(small, (x, y, side, side), (0, 255, 255), 1)
    whole = f'<img class="overview" alt="HR, whole" src="{png_data_uri(small)}">'
    return f'<figure>{whole}<figcaption>HR</figcaption></figure>'
