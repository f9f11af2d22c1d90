"""Damage every option file at random: is each damage reported before training, or does the file still train?

Examples:
    python scripts/mutate_options.py --jobs 2 --json mutations.json
    python scripts/mutate_options.py --files options/train_mask_esrgan.yml --damages 1000 --seed 3 --tries 20

Keys are misspelt, removed and given twice, values get another type or leave their range, paths break, sections are
replaced, lines cut or shifted, tags injected. Every file is checked as the launcher checks it, in a folder with
stand-ins for the images and weights that the option files name. The columns:
    reported   the check refuses the file, with a message
    harmless   it means what it meant before, a comment for instance
    trained    it passes the check, is made small, built, trained for two iterations and evaluated
    passed     it passes the check and was not tried: --tries of each file are, drawn at random
    FAILED     it passes and stops with a message afterwards, ends in a traceback, hangs, or is reported without words
The exit status is 1 if any failed. With --json, files whose result it already holds for the same seed and number of
damages are not damaged again, so an interrupted run continues.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.errors import UserError, exit_status
from ext_core.registration import register_all

OPTIONS = Path(__file__).resolve().parents[1] / 'options'


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--files', nargs='+', type=Path, metavar='FILE', help='option files; default: all of options/')
    parser.add_argument('--damages', type=int, default=200, metavar='N', help='damages to each file; default: 200')
    parser.add_argument('--tries', type=int, default=5, metavar='N', help='that pass and are trained, of a file')
    parser.add_argument('--seed', type=int, default=0, help='of the damages; default: 0')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='processes; default: 1')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write, and continue, the results there')
    parser.add_argument('--show', type=int, default=20, metavar='N', help='failures to print; default: 20')
    return parser.parse_args(argv)


def chosen(files: list[Path] | None, known: list[Path]) -> list[Path]:
    """The files to damage.

    Raises:
        UserError: If one is no recipe and nothing that a recipe inherits.
    """
    wanted = known if files is None else [file.resolve() for file in files]
    for file in wanted:
        if file not in known:
            raise UserError(f'--files {file}: no recipe below {OPTIONS}, and no recipe inherits it.')
    return wanted


def finished(path: Path | None, plan: dict) -> dict[str, dict]:
    """Results of an earlier run with the same plan, by file."""
    if path is None or not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding='utf-8'))
    return {result['file']: result for result in content['files']} if content['plan'] == plan else {}


def table(results: list[dict]) -> str:
    """The counts, file by file and together."""
    rows, whole = [], Counter[str]()
    for result in sorted(results, key=lambda result: result['file']):
        rows.append((result['file'], Counter(result['counts'])))
        whole.update(result['counts'])
    lines = [f'{"file":42} {"damages":>8} {"reported":>9} {"harmless":>9} {"trained":>8} {"passed":>7} {"FAILED":>7}']
    for name, counts in [*rows, ('all', whole)]:
        failed = counts.total() - sum(counts[key] for key in ('REPORTED', 'HARMLESS', 'TRAINED', 'PASSED'))
        lines.append(
            f'{name:42} {counts.total():8} {counts["REPORTED"]:9} {counts["HARMLESS"]:9} {counts["TRAINED"]:8} '
            f'{counts["PASSED"]:7} {failed:7}'
        )
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    register_all()
    from ext_core.mutation import campaign
    from ext_core.saving.checkpoint import atomic_write_text

    failures: list[dict] = []

    def job() -> None:
        plan = campaign.Plan(args.damages, args.seed, args.tries)
        files = chosen(args.files, list(campaign.recipes(OPTIONS)))
        results = finished(args.json, asdict(plan))
        waiting = [file for file in files if str(file.relative_to(OPTIONS)) not in results]
        if waiting:
            with campaign.prepared(OPTIONS, waiting) as home:
                for result in campaign.run(OPTIONS, waiting, plan, args.jobs, home):
                    results[result.file] = asdict(result)
                    print(f'{result.file}: {dict(result.counts)}, {result.seconds:.0f} s', file=sys.stderr, flush=True)
                    if args.json:
                        content = {'plan': asdict(plan), 'files': list(results.values())}
                        atomic_write_text(json.dumps(content, indent=1), args.json)
        failures.extend(failure for result in results.values() for failure in result['failures'])
        for failure in failures[: args.show]:
            print(f'\n{failure["file"]}, {failure["damage"]}\n{failure["verdict"]}: {failure["message"][-1500:]}')
        print(f'\n{table(list(results.values()))}')

    return exit_status(job) or int(bool(failures))


if __name__ == '__main__':
    sys.exit(main())
