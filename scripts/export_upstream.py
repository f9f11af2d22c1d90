"""Write our networks, losses, models, datasets, metrics, option files and their tests into a clone of BasicSR.

Examples:
    git clone https://github.com/XPixelGroup/BasicSR ../BasicSR
    python scripts/export_upstream.py ../BasicSR --dry-run
    python scripts/export_upstream.py ../BasicSR

Folders and names are BasicSR's, imports of ours become BasicSR's, and only what the components need goes along. A
second run writes what has changed, or says that nothing has. A clone with changes that are not committed is refused,
and so is another version than 1.4.x; files that the export did not write are never overwritten, but for the few edits
of BasicSR's own files that the plan lists. CONTRIBUTING.md says how to make the pull request.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.errors import exit_status
from ext_core.upstream.run import export

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkout', type=Path, metavar='CHECKOUT', help='the top of a clone of BasicSR 1.4.x')
    parser.add_argument('--dry-run', action='store_true', help='print the plan, write nothing')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace exported files that were changed (and committed) since'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    return exit_status(lambda: export(ROOT, args.checkout, args.dry_run, args.overwrite))


if __name__ == '__main__':
    sys.exit(main())
