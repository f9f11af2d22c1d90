"""The site of docs/: make docs, then open build/docs/index.html. It needs no network and no server.

The pages are those that GitHub shows, so the project is the source folder: ``sphinx-build -c docs . build/docs``.
Linked code, recipes and pictures are copied into the site. A page that docs/index.md does not name, a dead link and a
missing anchor are warnings, which end the build (``-W``).
"""

import re
from pathlib import Path

project = 'BasicSR-Ext'
html_title = project
html_theme = 'furo'
extensions = ['myst_parser']
root_doc = 'docs/index'
include_patterns = ['*.md', 'docs/*.md']
myst_heading_anchors = 4  # named as on GitHub
html_copy_source = False
html_use_index = False
html_show_copyright = False


def add_contents(app, docname: str, source: list[str]) -> None:
    """The sidebar: for each section of docs/index.md the pages that it names."""
    if docname == root_doc:
        for section in re.split(r'^## ', source[0], flags=re.MULTILINE)[1:]:
            caption, _, text = section.partition('\n')
            pages = '\n'.join(re.findall(r'\]\(([\w./]+\.md)\)', text))
            source[0] += f'\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n'


def add_start(app, error) -> None:
    """Lead from the top of the site to the first page."""
    (Path(app.outdir) / 'index.html').write_text(f'<meta http-equiv="refresh" content="0; url={root_doc}.html">\n')


def setup(app) -> None:
    app.connect('source-read', add_contents)
    app.connect('build-finished', add_start)
