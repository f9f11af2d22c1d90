"""Two-stage domain adaptation in one command: stage 1, the hand-over to stage 2, stage 2, figures and a report.

Examples:
    python scripts/train_domain_adaptation.py -opt options/train_domain_adaptation.yml --demo
    python scripts/train_domain_adaptation.py -opt options/train_domain_adaptation.yml
    torchrun --nproc_per_node=2 scripts/train_domain_adaptation.py -opt options/train_domain_adaptation.yml

The option file names two recipes and the images; its comments explain the keys. The experiments are
experiments/<name>_stage1 and experiments/<name>_stage2; experiments/<name> gets their option files, the written pairs,
commands.txt (the same step by step), and report.md with report.json, gap.png and crops.png.

Repeat the command to continue: what has finished is kept, what was interrupted resumes. Ctrl-C and SIGTERM let a
training save its state; the exit status is then 128 + the signal's number. Started by torchrun, on one machine, it
trains and degrades in as many processes; BasicSR's batch_size_per_gpu counts for each.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.errors import UserError, exit_status
from ext_core.project import PROJECT, by_console, file_of
from ext_core.registration import register_all

ROOT = Path.cwd() if by_console() else PROJECT


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', type=file_of, required=True, metavar='FILE', help='option file (YAML)')
    parser.add_argument('--demo', action='store_true', help='shrink the recipes, take embedded photographs')
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='A:B=C', help='override keys of the option file')
    args = parser.parse_args(argv)
    register_all()
    from ext_core.use.adaptation import plan
    from ext_core.use.jobs import run_in_order

    processes = int(os.environ.get('WORLD_SIZE', '1'))
    if os.environ.get('RANK', '0') != '0':  # the first process starts each command on as many
        return 0
    status = 0

    def run() -> None:
        nonlocal status
        if int(os.environ.get('LOCAL_WORLD_SIZE', processes)) != processes:
            raise UserError(
                'torchrun has started this command on several machines. Start it on one; or run stage 1, the hand-over '
                'and stage 2 by themselves (docs/domain_adaptation.md), each on all machines.'
            )
        job, files = plan(ROOT, args.opt, args.force_yml, args.demo, processes if processes > 1 else None)
        status = run_in_order(job, files)

    try:
        failed = exit_status(run)
    except KeyboardInterrupt:
        return 130
    if status > 128:
        print('stopped; repeat the command to continue', file=sys.stderr, flush=True)
    return failed or status


if __name__ == '__main__':
    sys.exit(main())
