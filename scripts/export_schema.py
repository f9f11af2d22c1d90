"""Write options/schema.json: what editors complete, explain and underline in option files.

Examples:
    python scripts/export_schema.py
    python scripts/export_schema.py --output schema.json

Derived from the code: run it after a network, loss, dataset, metric, model or one of their arguments has changed; a
test compares the file with what this writes. How to tell an editor about it: docs/RELIABILITY.md, Options.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.errors import exit_status
from ext_core.registration import register_all

SCHEMA = Path(__file__).resolve().parents[1] / 'options' / 'schema.json'


def text() -> str:
    """The content of the file."""
    from ext_core.options.schema import option_schema

    return json.dumps(option_schema(), indent=1, ensure_ascii=False) + '\n'


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, default=SCHEMA, metavar='FILE', help='default: options/schema.json')
    args = parser.parse_args(argv)
    register_all()
    from ext_core.atomic import atomic_write_text

    return exit_status(lambda: atomic_write_text(text(), args.output))


if __name__ == '__main__':
    sys.exit(main())
