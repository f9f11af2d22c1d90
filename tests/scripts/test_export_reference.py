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


@pytest.mark.parametrize(
    ('page', 'row'),
    [
        ('reference.md', '- `accumulate: 1` (integer ≥ 1) Run the batch in this many equal chunks'),
        ('reference.md', '- `total_iter` (integer ≥ 1, needed) Iterations of the whole training.'),
        ('reference.md', '- `amp: ~` (`bf16` or `fp16`) '),
        ('reference.md', "- `filename_tmpl: '{}'` How low-quality images"),
        ('reference_components.md', '- `window: 7` Side of the square over which'),
        ('reference_components.md', '- `layer_weights` (section of numbers, needed) '),
        ('reference_components.md', '- `make_lq: true` Make'),
        ('reference_basicsr.md', '- `EDVRModel` on `VideoBaseModel`: `train:dcn_lr_mul`, `train:tsa_iter`'),
        ('reference_basicsr.md', '- `MSRResNet(num_in_ch=3, num_out_ch=3, num_feat=64, num_block=16, upscale=4)`'),
    ],
)
def test_what_it_says(pages, page, row):
    assert any(line.startswith(row) for line in pages[page].splitlines())


def test_all_keys_of_this_plugin_are_explained(pages):
    text = pages['reference.md'] + pages['reference_components.md'].split('### calculate_ma')[0]  # explained at PI's
    rows = text.splitlines()
    silent = [line for line in rows if line.startswith('- `') and not line.endswith('.')]
    assert silent == []


def test_markdown_of_docstrings():
    assert reference.prose('``a | b`` of :class:`x.Policy`, x < y * z') == r'`a | b` of `Policy`, x \< y \* z'
    assert reference._kind({'anyOf': [{'type': 'array', 'items': {'type': 'integer'}}, {'type': 'null'}]}) == (
        'list of integers'
    )


def test_the_script_writes_where_it_is_told(tmp_path, pages):
    assert export_reference.main(['--output', str(tmp_path)]) == 0
    assert {path.name: path.read_text(encoding='utf-8') for path in tmp_path.iterdir()} == pages
