"""Makes a site of pages that are written for GitHub: what they link to outside ``docs/`` becomes a page of the site.

The README, CONTRIBUTING and CHANGELOG get a place in the navigation. Every other file, such as a script or a recipe,
and every folder that a page links to is shown on a page of its own, which the search leaves out. A link to what does
not exist is a warning, which ends a strict build as MkDocs' own warnings on dead links do.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).resolve().parents[1]
NAMED = {
    'README.md': 'project/overview.md',
    'CONTRIBUTING.md': 'project/contributing.md',
    'CHANGELOG.md': 'project/changelog.md',
}
LANGUAGES = {'.py': 'python', '.yml': 'yaml', '.sh': 'sh', '.json': 'json'}
# code, in which nothing is a link; or a link
_LINK = re.compile(r'^```.*?^```$|`[^`\n]+`|\]\((?P<target>[^)\s]+)\)', re.MULTILINE | re.DOTALL)
_log = get_plugin_logger('links')
_origin: dict[str, str] = {}  # of the pages made here: the file or folder that they show


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that the pages of ``docs/`` link to, and what these link to."""
    _origin.clear()
    waiting = list(NAMED)
    for file in files.documentation_pages():
        waiting += _targets(f'docs/{file.src_uri}', file.content_string)
    while waiting:
        path = waiting.pop()
        uri = _page_of(path)
        if uri in _origin or path.startswith('docs/') or not (PROJECT / path).exists():
            continue
        _origin[uri] = path
        text = _shown(path)
        files.append(File.generated(config, uri, content=text))
        waiting += _targets(path, text)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links lead to pages of the site."""
    uri = page.file.src_uri
    path = _origin.get(uri, f'docs/{uri}')

    def replace(match: re.Match) -> str:
        found = _resolve(path, match)
        if found is None:
            return match.group()
        file, anchor = found
        if not (PROJECT / file).exists():
            _log.warning(f"{path} links to '{match['target']}', but there is no {file}.")
        return f']({posixpath.relpath(_page_of(file), posixpath.dirname(uri) or ".")}{anchor})'

    return _LINK.sub(replace, markdown)


def _targets(path: str, text: str) -> list[str]:
    """The files and folders to which a file links, from the project's root."""
    return [found[0] for match in _LINK.finditer(text) if (found := _resolve(path, match))]


def _resolve(path: str, match: re.Match) -> tuple[str, str] | None:
    """Of a link in a file: the linked file from the project's root, and '#anchor' or ''."""
    target = match['target']
    if not target or re.match(r'[a-z]+:|#', target):
        return None
    file, mark, anchor = target.partition('#')
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), file)), mark + anchor


def _page_of(path: str) -> str:
    """Where the site has a file of the project."""
    if path.startswith('docs/'):
        return path.removeprefix('docs/')
    return NAMED.get(path) or f'source/{path}.md'


def _shown(path: str) -> str:
    """The page of a file or folder."""
    place = PROJECT / path
    if path in NAMED:
        return place.read_text(encoding='utf-8')
    head = f'---\nhide: [navigation, toc]\nsearch:\n  exclude: true\n---\n\n# {path}\n\n'
    if place.is_dir():
        names = sorted(item.name for item in place.iterdir() if item.suffix in LANGUAGES)
        return head + ''.join(f'- [{name}]({place.name}/{name})\n' for name in names)
    text = place.read_text(encoding='utf-8')
    fence = '`' * max(3, 1 + max(map(len, re.findall('`+', text)), default=0))
    return f'{head}{fence}{LANGUAGES.get(place.suffix, "text")}\n{text}{fence}\n'
