"""The option reference is current, and says what the code says."""

import pytest
from script_loader import load_script

from ext_core.options import reference

export_reference = load_script('export_reference')


@pytest.fixture(scope='module')
def pages() -> dict[str, str]:
    return reference.pages()


def test_the_pages_are_current(pages):
    for name, text in pages.items():
        assert (export_reference.DOCS / name).read_text(encoding='utf-8') == text, (
            f'docs/{name} is old: run python scripts/export_reference.py'
        )


def test_all_keys_of_this_plugin_are_explained(pages):
    text = pages['reference.md'] + pages['reference_components.md'].split('### calculate_ma')[0]  # explained at PI's
    rows = text.splitlines()
    silent = [line for line in rows if line.startswith('- `') and not line.endswith('.')]
    assert silent == []
