"""Write the option reference: docs/reference.md, docs/reference_components.md and docs/reference_basicsr.md.

Examples:
    python scripts/export_reference.py
    python scripts/export_reference.py --output pages

Derived from the code: run it after a network, loss, dataset, metric, model or one of their arguments has changed; a
test compares the pages with what this writes.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.errors import exit_status
from ext_core.registration import register_all

DOCS = Path(__file__).resolve().parents[1] / 'docs'


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, default=DOCS, metavar='FOLDER', help='default: docs')
    args = parser.parse_args(argv)
    register_all()
    from ext_core.atomic import atomic_write_text
    from ext_core.options import reference

    def write() -> None:
        for name, text in reference.pages().items():
            atomic_write_text(text, args.output / name)

    return exit_status(write)


if __name__ == '__main__':
    sys.exit(main())
