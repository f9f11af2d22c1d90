"""The site of docs/: it builds without a warning, shows every page, and loads nothing from elsewhere."""

import logging
import os
import re
import shutil
from pathlib import Path

import pytest
from browser import elements_after, needs_browser

pytest.importorskip('mkdocs', reason='mkdocs is not installed: pip install -c constraints.txt -e ".[docs]"')
pytest.importorskip('material', reason='mkdocs-material is not installed: pip install -c constraints.txt -e ".[docs]"')
os.environ.setdefault('NO_MKDOCS_2_WARNING', '1')

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

PROJECT = Path(__file__).resolve().parents[1]
SMALL = 'site_name: x\nstrict: true\ntheme: {name: mkdocs, highlightjs: false}\nhooks: [docs/hooks.py]\nplugins: []\n'


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """The built site; a dead link, a page out of the navigation and a missing anchor end the build."""
    folder = tmp_path_factory.mktemp('site') / 'docs'
    build(load_config(str(PROJECT / 'mkdocs.yml'), site_dir=str(folder)))
    return folder


def test_every_page_is_in_the_navigation(site):
    nav = (PROJECT / 'mkdocs.yml').read_text(encoding='utf-8').split('\nnav:')[1].split('\ntheme:')[0]
    named = set(re.findall(r'([\w/]+\.md)$', nav, re.MULTILINE))
    written = {path.name for path in (PROJECT / 'docs').glob('*.md')}
    assert named == written | {'project/overview.md', 'project/contributing.md', 'project/changelog.md'}
    assert all((site / name).with_suffix('.html').is_file() for name in named)


def test_nothing_is_loaded_from_elsewhere(site):
    loads = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\ssrc=["\']?(?:https?:)?//|<link[^>]*href=["\']?(?:https?:)?//'
    )
    pages = sorted(site.rglob('*.html'))
    assert [page.name for page in pages if loads.search(page.read_text(encoding='utf-8'))] == []
    assert not any('@import' in style.read_text(encoding='utf-8') for style in site.rglob('extra.css'))


def test_files_outside_docs_are_shown(site):
    code = (site / 'source' / 'ext_losses' / 'mask_loss.py.html').read_text(encoding='utf-8')
    assert 'ErrorMask' in code
    assert 'href="source/ext_losses/mask_loss.py.html"' in (site / 'mask.html').read_text(encoding='utf-8')
    assert 'ErrorMask(nn' not in (site / 'search' / 'search_index.json').read_text(encoding='utf-8')
    assert 'src="../images/demo.png"' in (site / 'project' / 'overview.html').read_text(encoding='utf-8')


@needs_browser
def test_the_search_works_from_a_folder(site):
    script = """
        document.querySelector('[data-md-toggle=search]').click();
        const box = document.querySelector('[data-md-component=search-query]');
        setTimeout(() => { box.value = 'sbatch'; box.dispatchEvent(new KeyboardEvent('keyup')) }, 1500);
    """
    results = elements_after(site / 'index.html', script).split('md-search-result__list')[1]
    assert 'multi_gpu.html' in results


# ---------------------------------------------------------------------- the hook, on a small project
@pytest.fixture
def small_project(tmp_path) -> Path:
    (tmp_path / 'docs').mkdir()
    shutil.copy(PROJECT / 'docs' / 'hooks.py', tmp_path / 'docs')
    (tmp_path / 'mkdocs.yml').write_text(SMALL)
    (tmp_path / 'README.md').write_text('# Readme\n\n[page](docs/index.md#two-words), [code](code.py)\n')
    (tmp_path / 'code.py').write_text("text = '''\n```\n'''\n")
    return tmp_path


def build_small(project: Path, page: str) -> None:
    (project / 'docs' / 'index.md').write_text(page)
    build(load_config(str(project / 'mkdocs.yml')))


def test_links_lead_to_pages_of_the_site_and_code_is_left_alone(small_project):
    build_small(
        small_project, '# Page\n\n## Two words\n\n[r](../README.md#readme) `](../gone.py)`\n\n```\n](../gone.py)\n```\n'
    )
    page = (small_project / 'site' / 'index.html').read_text()
    assert 'href="project/overview/#readme"' in page
    assert page.count('](../gone.py)') == 2
    assert (
        'href="../../source/code.py/"' in (small_project / 'site' / 'project' / 'overview' / 'index.html').read_text()
    )
    assert '```' in (small_project / 'site' / 'source' / 'code.py' / 'index.html').read_text()


@pytest.mark.parametrize('link', ['../gone.py', 'gone.md', '../README.md/../gone/'])
def test_a_dead_link_ends_the_build(small_project, link, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(Abort):
        build_small(small_project, f'# Page\n\n## Two words\n\n[dead]({link})\n')
    assert 'gone' in caplog.text
