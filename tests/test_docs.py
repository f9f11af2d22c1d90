"""The documentation against the project: files, commands, options and examples that it names.

Links are followed by the build of the site, in test_docs_site.py.
"""

import ast
import importlib.util
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from ext_core import arguments
from ext_core.options import check, yaml_safe
from ext_core.options import loading as options
from studies import side_by_side, study

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / name for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')] + sorted(
    (PROJECT / 'docs').glob('*.md')
)
FOLDERS = ('basicsr', 'docs', 'ext_arch', 'ext_core', 'ext_data', 'ext_losses', 'ext_metrics', 'ext_models', 'options',
           'scripts', 'studies', 'tests')  # fmt: skip
FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# the file that a Python block says it is, in its first line
PYTHON_FILE = re.compile(r'# ((?:tests/)?ext_\w+/\w+\.py)\n')
# a path below one of our folders, with a suffix; * stands for several files
OUR_PATH = re.compile(rf'(?<![\w./])(?:{"|".join(FOLDERS)})/[\w./*-]*\.(?:py|yml|sh|md|png)\b')


class Block(NamedTuple):
    """A fenced code block of a page."""

    page: Path
    language: str
    text: str


def blocks(*languages: str) -> list:
    """All blocks in one of these languages, as parameters of a test."""
    found = [
        Block(page, language, text)
        for page in PAGES
        for language, text in FENCE.findall(page.read_text())
        if language in languages
    ]
    return [pytest.param(block, id=f'{block.page.stem}-{number}') for number, block in enumerate(found)]


def title_of(block: Block) -> str | None:
    """The file that a YAML block says it is, in its first line."""
    match = re.match(r'# (options/\w+\.yml)\n', block.text)
    return match.group(1) if match else None


WRITTEN_BY_THE_READER = {title_of(parameter.values[0]): parameter.values[0] for parameter in blocks('yaml')}
WRITTEN_BY_THE_READER.pop(None, None)
EXAMPLES = {  # of extending.md; test_docs_examples.py runs them
    match.group(1): parameter.values[0].text
    for parameter in blocks('python')
    if (match := PYTHON_FILE.match(parameter.values[0].text))
}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_files_that_are_named_exist(page):
    text = page.read_text()
    if page.name == 'CONTRIBUTING.md':  # it names files to be written
        text = '\n'.join(block for _, block in FENCE.findall(text))
    named = set(OUR_PATH.findall(text)) - WRITTEN_BY_THE_READER.keys() - EXAMPLES.keys() - {'options/train_NAME.yml'}
    missing = sorted(path for path in named if not list(PROJECT.glob(path)))
    assert not missing, f'{page.name}: {missing}'


# ---------------------------------------------------------------------- commands
def commands() -> list:
    found = [
        (parameter.id, line.split('#')[0].strip())
        for parameter in blocks('', 'sh', 'bash')
        for line in parameter.values[0].text.splitlines()
    ]
    pattern = re.compile(r'(make|torchrun|srun|(\.venv/bin/)?python)\s')
    return [pytest.param(line, id=f'{name}-{i}') for i, (name, line) in enumerate(found) if pattern.match(line)]


def sources_of(words: list[str]) -> str:
    """The code that reads the command's flags."""
    if words[1] == '-m':  # later on the line it is a script's own
        module = words[2]
        spec = importlib.util.find_spec(module)
        assert spec is not None, f'no module {module}'
        return Path(spec.origin).read_text() if module.startswith('ext_') else ''
    script = next(word for word in words if word.endswith('.py'))
    assert (PROJECT / script).is_file(), f'no file {script}'
    text = (PROJECT / script).read_text()
    if script.startswith('basicsr/'):
        return text + Path(options.__file__).read_text()
    shared = {'parser_of': study, 'benchmark_parser': side_by_side, 'add_conversion': arguments}
    return text + ''.join(Path(str(module.__file__)).read_text() for name, module in shared.items() if name in text)


@pytest.mark.parametrize('line', commands())
def test_commands_exist_and_know_their_flags(line):
    words = line.split()
    if words[0] == 'make':
        targets = re.findall(r'^([\w-]+):', (PROJECT / 'Makefile').read_text(), re.MULTILINE)
        assert words[1] in targets
        return
    source = sources_of(words)
    scripts = [i for i, word in enumerate(words) if word.endswith('.py')]
    own = words if '-m' in words else words[scripts[0] :]  # torchrun's and srun's own flags come before the script
    for flag in (word.split('=')[0] for word in own if word.startswith('--')):
        assert not source or f"'{flag}'" in source, f'{flag} is unknown'


# ---------------------------------------------------------------------- examples
@pytest.mark.parametrize('block', blocks('yaml', 'yml', 'python'))
def test_examples_parse(block):
    if block.language == 'python':
        ast.parse(block.text)
    else:
        assert isinstance(yaml_safe.parse(block.text, block.page.name), dict)


@pytest.mark.parametrize('block', [p for p in blocks('yaml') if '_base_' in p.values[0].text])
def test_option_examples_inherit_and_have_no_unknown_keys(block, tmp_path):
    shutil.copytree(PROJECT / 'options', tmp_path / 'options')
    for name, written in WRITTEN_BY_THE_READER.items():
        (tmp_path / name).write_text(written.text)
    example = tmp_path / 'options' / 'example_of_the_page.yml'
    example.write_text(block.text)
    is_train = 'total_iter' in options.load(example).get('train', {})
    args = options.parse_arguments(['-opt', str(example)], is_train)
    _, opt = options.resolve(args, tmp_path, is_train)
    found = [str(problem) for problem in check.find_problems(opt, is_train)]
    assert [problem for problem in found if 'unknown key' in problem or 'no such argument' in problem] == []
