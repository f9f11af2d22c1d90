"""The site of docs/: it builds without a warning, shows every page, leads nowhere that is not there, and is searched
without a network or a server."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip('sphinx', reason='Sphinx is not installed: pip install -c constraints.txt -e ".[docs]"')
pytest.importorskip('myst_parser', reason='myst-parser is not installed: pip install -c constraints.txt -e ".[docs]"')
pytest.importorskip('furo', reason='furo is not installed: pip install -c constraints.txt -e ".[docs]"')

from sphinx.cmd.build import build_main

pytestmark = pytest.mark.filterwarnings('ignore:.*is deprecated')  # of MyST's, for Sphinx
PROJECT = Path(__file__).resolve().parents[1]
SOURCE = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\ssrc="([^"]*)"|<link\b[^>]*\shref="([^"]*)"')


def build(project: Path, site: Path) -> int:
    """As ``make docs``; each warning is an error."""
    return build_main(['--fail-on-warning', '--keep-going', '-q', '-c', str(project / 'docs'), str(project), str(site)])


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('site') / 'docs'
    assert build(PROJECT, folder) == 0
    return folder


def test_links_lead_to_files_of_the_site(site):
    dead = []
    for page in site.rglob('*.html'):
        for link in re.findall(r'\b(?:href|src)="([^"#?]+)', page.read_text(encoding='utf-8')):
            if not re.match(r'[a-z]+:|//', link) and not (page.parent / unquote(link)).is_file():
                dead.append(f'{page.name}: {link}')
    assert dead == []
    code = re.search(r'href="(\.\./_downloads/\w+/mask_loss\.py)"', (site / 'docs' / 'mask.html').read_text())[1]
    assert (site / 'docs' / code).read_bytes() == (PROJECT / 'ext_losses' / 'mask_loss.py').read_bytes()


def test_nothing_is_loaded_from_elsewhere(site):
    loaded = {(page.name, ''.join(pair)) for page in site.rglob('*.html') for pair in SOURCE.findall(page.read_text())}
    assert loaded
    assert [pair for pair in loaded if re.match(r'(https?:)?//', pair[1])] == []


def test_the_search_needs_no_server(site):
    """Its index is a script, which a page opened from a folder may load."""
    assert '<script src="searchindex.js">' in (site / 'search.html').read_text(encoding='utf-8')
    index = json.loads((site / 'searchindex.js').read_text(encoding='utf-8')[len('Search.setIndex(') : -1])
    found = index['terms']['sbatch']
    assert 'docs/multi_gpu' in [index['docnames'][page] for page in (found if isinstance(found, list) else [found])]


def test_what_leads_nowhere_ends_the_build(tmp_path, capsys):
    (tmp_path / 'docs').mkdir()
    shutil.copy(PROJECT / 'docs' / 'conf.py', tmp_path / 'docs')
    (tmp_path / 'docs' / 'a.md').write_text('# A\n\n## Two words\n')
    (tmp_path / 'docs' / 'index.md').write_text('# Index\n\n## Start\n\n[dead](a.md#three-words)\n')
    assert build(tmp_path, tmp_path / 'site') == 1
    said = capsys.readouterr().err
    assert 'three-words' in said
    assert "a.md: WARNING: document isn't included in any toctree" in said
