"""Two-stage domain adaptation as one plan: stage 1, the hand-over, stage 2, figures and report."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY

from ext_core.errors import UserError
from ext_core.options import loading as options
from ext_core.options import yaml_safe
from ext_core.options.check import find_problems
from ext_core.use.adaptation_options import kind, load, resolve, shown, stage_options
from ext_core.use.hr_sources import pictures_of
from ext_core.use.jobs import Job, Step, fingerprint, refuse_foreign_experiment, training_part
from ext_data.roots import roots_of
from ext_models.registries import look_up

COMMANDS = 'commands.txt'  # in the folder of the whole: what was run, to be read by people


def plan(
    root: Path, file: Path, overrides: Sequence[str] = (), demo: bool = False, torchrun: int | None = None
) -> tuple[Job, dict[str, str]]:
    """Read, check, and say what is to be run, for :func:`ext_core.use.jobs.run_in_order`. Writes nothing, but for the
    embedded photographs of ``demo``.

    Args:
        root (Path): Gets ``experiments/``; the clone, whose ``basicsr/`` and ``scripts/`` are run, or any folder.
        file (Path), overrides (Sequence[str]): See :func:`load`.
        demo (bool): Whether to shrink the recipes and take embedded photographs.
        torchrun (int | None): How many processes torchrun is to start for each training. Default: None, one without it.

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
    model = stages[2].get('model_type')
    if opt['hand_over'] == 'on_the_fly' and not getattr(look_up(MODEL_REGISTRY, model), 'DEGRADES', False):
        raise UserError(
            f'{file}: hand_over: on_the_fly: {model} of stage 2 cannot degrade images itself. Use hand_over: lmdb, or '
            'model_type: DomainAdaptationSRModel.'
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
    # where the hand-over writes; the HR images, too, where they are in a folder, or of sizes that the scale does not
    # divide: LR images as LMDB need such a partner
    sources, scale = roots_of(stages[2]['datasets']['train']['dataroot_gt']), stages[2]['scale']
    written = []  # source, LR LMDB, and HR LMDB or ''
    if opt['hand_over'] == 'lmdb':
        for number, source in enumerate(sources, start=1):
            sizes = [picture.size for picture in pictures_of(Path(source))]
            own = kind(source) == 'disk' or any(side % scale for size in sizes if size for side in size)
            lr, hr = (shown(folder / f'{name}{number if number > 1 else ""}.lmdb') for name in ('LR', 'HR'))
            written.append((source, lr, hr if own else ''))
        train: dict[str, Any] = {'io_backend': {'_delete_': True, 'type': 'lmdb'}}
        if len(written) == 1:
            source, lr, hr = written[0]
            train |= {'type': 'PairedImageDataset', 'dataroot_gt': hr or source, 'dataroot_lq': lr}
        else:
            train |= {'type': 'ExtPairedImageDataset', 'dataroot_gt': [hr or source for source, _, hr in written]}
            train |= {'dataroot_lq': [lr for _, lr, _ in written]}
        stages[2] = options.merge(stages[2], {'datasets': {'train': train}})
        if stages[2].get('degrade'):  # noise, or sharpened HR images
            stages[2]['degrade']['type'] = 'Pairs'
    else:
        weights = shown(experiments[1] / 'models' / 'net_g_latest.pth')
        stages[2] = options.merge(stages[2], {'degrade': {**stages[1]['network_g'], 'weights': weights}})
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
    start = ['python']
    if torchrun is not None:
        start = ['torchrun', f'--nproc_per_node={torchrun}', '--standalone']
    programs = {'python': [sys.executable], 'torchrun': [sys.executable, '-m', 'torch.distributed.run']}
    steps, lines = [], []

    def add(name: str, script: str, arguments: list[str], product: Path, inputs: str, start: list[str] = start) -> None:
        file = root / script
        words = [shown(file)] if file.is_file() else ['-m', 'ext_core', file.stem.replace('_', '-')]
        line = [*start, *words, *arguments]
        steps.append(Step(name, [*programs[line[0]], *line[1:]], product, inputs))
        lines.append(shlex.join(line))

    def add_training(number: int) -> None:
        arguments = ['-opt', shown(folder / f'stage{number}.yml'), '--auto_resume', *launcher]
        product = experiments[number] / 'models' / 'net_g_latest.pth'
        add(f'stage {number}', 'basicsr/train.py', arguments, product, fingerprint(training_part(stages[number])))

    add_training(1)
    for source, lr, hr in written:
        arguments = ['--experiment', shown(experiments[1]), '--hr', source, '--output', lr]
        arguments += ['--output-hr', hr] if hr else []
        name = 'hand-over' if len(written) == 1 else f'hand-over of {source}'
        add(name, 'scripts/synthesize_lr.py', arguments, Path(f'{lr}.json'), fingerprint(source, hr or source, lr))
    add_training(2)
    val, figures = stages[1]['datasets']['val'], folder / 'gap.json'
    sets = ['--hr', val['dataroot_gt'], '--real', val['dataroot_real_lq']]
    arguments = [*sets, '--experiment', shown(experiments[1]), '--json', shown(figures)]
    arguments += ['--output', shown(folder / 'gap.png')]
    add('gap', 'scripts/domain_gap.py', arguments, figures, fingerprint(sets), ['python'])
    validation = {key: value for key, value in stages[2]['datasets'].items() if key.startswith('val')}
    inputs = fingerprint(validation, (stages[2].get('val') or {}).get('metrics'))
    add('report', 'scripts/adaptation_report.py', [shown(folder)], folder / 'report.md', inputs, ['python'])
    files = {f'stage{number}.yml': yaml_safe.dump(stage) for number, stage in stages.items()}
    files[COMMANDS] = '\n'.join(lines) + '\n'
    return Job(folder.name, folder, steps), files
