"""Two-stage domain adaptation as one plan: stage 1, the hand-over, stage 2, figures and report."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from basicsr.utils.registry import MODEL_REGISTRY

from ext_core.errors import UserError
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.options.check import find_problems
from ext_core.use.adaptation_options import (
    Pairs,
    load,
    pairs_of,
    resolve,
    shown,
    stage_options,
    with_pairs,
)
from ext_core.use.jobs import Job, Step, fingerprint, refuse_foreign_experiment, training_part
from ext_core.use.stages import Plan
from ext_models.registries import look_up

STAGE_1, HAND_OVER, STAGE_2, GAP, REPORT = 'stage 1', 'hand-over', 'stage 2', 'gap', 'report'
COMMANDS = 'commands.txt'  # in the folder of the whole: what was run, to be read by people


def plan(
    root: Path, file: Path, overrides: Sequence[str] = (), demo: bool = False, torchrun: int | None = None
) -> Plan:
    """Read, check, and say what is to be run. Writes nothing, but for the embedded photographs of ``demo``.

    Args:
        root (Path): Gets ``experiments/``; the clone, whose ``basicsr/`` and ``scripts/`` are run, or any folder.
        file (Path): The option file.
        overrides (Sequence[str]): See :func:`load`.
        demo (bool): Whether to shrink the recipes and take embedded photographs.
        torchrun (int | None): How many processes on this machine torchrun started. Default: None, without it.

    Raises:
        UserError: If options of the file or of a stage are wrong, or do not fit what is there already.
    """
    opt = load(file, overrides)
    stages = {number: stage_options(opt, number, demo) for number in (1, 2)}
    if stages[1].get('scale') != stages[2].get('scale'):
        raise UserError(
            f'{file}: stage 1 has scale {stages[1].get("scale")}, stage 2 {stages[2].get("scale")}. Give scale in '
            f'{file}, once for both.'
        )
    if demo:
        from ext_data.preparation.demo import ensure_demo_data

        ensure_demo_data(Path.cwd(), stages[1]['scale'])
        # the demonstration of a recipe alone has bicubic LR images there
        stages[2]['datasets']['val']['dataroot_lq'] = stages[1]['datasets']['val']['dataroot_real_lq']
    launcher = [] if torchrun is None else ['--launcher', 'pytorch']
    found = []  # in both stages, before the first one begins
    for number, stage in stages.items():
        _, complete = resolve(stage, launcher, root)
        found += [f'  - stage {number}: {problem}' for problem in find_problems(complete, is_train=True)]
    if found:
        raise UserError(
            f'the options of the stages ({opt["stage1"]}, {opt["stage2"]}, and what is merged over them) have '
            'problems; nothing was created or changed.\n' + '\n'.join(found)
        )
    folder = root / 'experiments' / (f'demo_{opt["name"]}' if demo else opt['name'])
    experiments = {number: root / 'experiments' / stage['name'] for number, stage in stages.items()}
    pairs = None
    if opt['hand_over'] == 'lmdb':
        pairs = pairs_of(stages[2], folder)
        stages[2] = with_pairs(stages[2], pairs)
    else:
        if not hasattr(look_up(MODEL_REGISTRY, stages[2].get('model_type')), 'net_degrade'):
            raise UserError(
                f'hand_over: on_the_fly: {stages[2].get("model_type")} of stage 2 cannot degrade images itself. Use '
                'hand_over: lmdb, or model_type: DomainAdaptationSRModel.'
            )
        weights = shown(experiments[1] / 'models' / 'net_g_latest.pth')
        path = {'pretrain_network_degrade': weights, 'ignore_resume_networks': ['network_degrade']}
        stages[2] = options.merge(stages[2], {'network_degrade': stages[1]['network_g'], 'path': path})
    for stage in stages.values():
        refuse_foreign_experiment(root, stage)
    # the options of stage 2 do not tell from which stage 1 it got its LR images
    before, second = folder / 'stage1.yml', experiments[2]
    begun = [*second.glob('training_states/*.state'), *second.glob('models/net_g_latest.pth')]
    if begun and before.is_file() and training_part(yaml_safe.read(before)) != training_part(stages[1]):
        raise UserError(
            f'{second} was trained after a stage 1 with other options, those in {before}. Move {second} away, '
            'or choose another name.'
        )
    steps = _steps(root, folder, experiments, stages, pairs, launcher)
    alone = frozenset((GAP, REPORT))
    lines = [_readable(step, None if step.name in alone else torchrun) for step in steps]
    files = {f'stage{number}.yml': yaml_safe.dump(stage) for number, stage in stages.items()}
    files[COMMANDS] = '\n'.join(lines) + '\n'
    return Plan(Job(folder.name, folder, steps), alone, files)


def _steps(
    root: Path, folder: Path, experiments: dict[int, Path], stages: dict[int, dict], pairs: Pairs | None, launcher: list
) -> list[Step]:
    def script(folder: str, name: str) -> list[str]:
        file = root / folder / f'{name}.py'
        own = [str(file)] if file.is_file() else ['-m', 'ext_core', name.replace('_', '-')]
        return [sys.executable, *own]

    def training(number: int) -> Step:
        options_file = shown(folder / f'stage{number}.yml')
        command = [*script('basicsr', 'train'), '-opt', options_file, '--auto_resume', *launcher]
        product = experiments[number] / 'models' / 'net_g_latest.pth'
        return Step((STAGE_1, STAGE_2)[number - 1], command, product, fingerprint(training_part(stages[number])))

    steps = [training(1)]
    if pairs:
        command = [*script('scripts', 'synthesize_lr'), '--experiment', shown(experiments[1]), '--hr', pairs.source]
        command += ['--output', pairs.lr] + (['--output-hr', pairs.hr] if pairs.own_hr else [])
        steps.append(Step(HAND_OVER, command, Path(f'{pairs.lr}.json'), fingerprint(pairs.source, pairs.hr, pairs.lr)))
    steps.append(training(2))
    val = stages[1]['datasets']['val']
    sets = ['--hr', val['dataroot_gt'], '--real', val['dataroot_real_lq']]
    figures = folder / 'gap.json'
    command = [*script('scripts', 'domain_gap'), *sets, '--experiment', shown(experiments[1])]
    command += ['--json', shown(figures), '--output', shown(folder / 'gap.png')]
    steps.append(Step(GAP, command, figures, fingerprint(sets)))
    command = [*script('scripts', 'adaptation_report'), shown(folder)]
    validation = {key: value for key, value in stages[2]['datasets'].items() if key.startswith('val')}
    inputs = fingerprint(validation, (stages[2].get('val') or {}).get('metrics'))
    return [*steps, Step(REPORT, command, folder / 'report.md', inputs)]


def _readable(step: Step, torchrun: int | None) -> str:
    """A command as one would type it in the current folder."""
    start = ['python'] if torchrun is None else ['torchrun', f'--nproc_per_node={torchrun}']
    return shlex.join([*start, shown(Path(step.command[1])), *step.command[2:]])
