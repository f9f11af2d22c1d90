"""What users write stays: names and arguments of components, options of commands, recipes with all they inherit."""

import argparse
import hashlib
import importlib.util
import inspect
import json
from pathlib import Path

import pytest
from basicsr.utils import registry

from ext_core import doctor
from ext_core.options import loading as options
from ext_models.degradations import DEGRADATION_REGISTRY

PROJECT = Path(__file__).resolve().parents[2]
GOLDEN = PROJECT / 'tests' / 'golden'
REGISTRIES = {kind: getattr(registry, f'{kind}_REGISTRY') for kind in ('ARCH', 'DATASET', 'LOSS', 'METRIC', 'MODEL')}
REGISTRIES['DEGRADATION'] = DEGRADATION_REGISTRY
SCRIPTS = ('adaptation_report', 'compare', 'convert_weights', 'domain_gap', 'evaluate', 'export_onnx', 'get_weights',
           'prepare_data', 'report', 'synthesize_lr', 'train_domain_adaptation', 'upscale')  # fmt: skip
OVERLAYS = PROJECT / 'options' / 'overlays'
RECIPES = [
    path
    for folder in ('options', 'studies/options')
    for path in sorted((PROJECT / folder).rglob('*.yml'))
    # in options/ itself those that a recipe's name tells; others are somebody's own
    if OVERLAYS not in path.parents and (path.parent != PROJECT / 'options' or path.name.startswith(('t', 'finetune')))
    if 'model_type' in options.load(path)
]


def recorded(name: str) -> dict:
    return json.loads((GOLDEN / f'{name}.json').read_text(encoding='utf-8'))


def differences(before: dict, now: dict) -> list[str]:
    """Lines as they stand in the file, those to remove and those to add."""
    pairs = [(sign, d, other) for sign, d, other in (('-', before, now), ('+', now, before))]
    return [
        f'{sign} {json.dumps(key)}: {json.dumps(d[key])}'
        for sign, d, other in pairs
        for key in sorted(d)
        if key not in other or other[key] != d[key]
    ]


# ---------------------------------------------------------------------- components
def signature(component) -> str:
    """Names, order, kinds and defaults of its arguments. Annotations may change, and print otherwise on each Python."""
    found = inspect.signature(component)
    bare = [parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def test_registered_names_and_signatures():
    now = {
        f'{kind}: {name}': signature(component)
        for kind, found in REGISTRIES.items()
        for name, component in found
        if component.__module__.startswith('ext_')
    }
    changed = differences(recorded('registry'), now)
    assert not changed, 'tests/golden/registry.json:\n' + '\n'.join(changed)


# ---------------------------------------------------------------------- commands
class Parsed(Exception):
    """Ends a command when its parser is complete."""


def arguments(parser: argparse.ArgumentParser) -> list[str]:
    """Option strings, and the names of positional arguments; those of a subcommand after its name."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [f'{name} {argument}' for name, sub in action.choices.items() for argument in arguments(sub)]
        else:
            found.append(' '.join(action.option_strings or [action.dest, *(action.choices or ())]))
    return sorted(found)


def command(name: str):
    """What runs a command with a list of arguments."""
    if name == 'ext_core.doctor':
        return doctor.main
    if name.startswith('basicsr/'):
        return lambda argv: options.parse_arguments(argv, is_train=name.endswith('train'))
    spec = importlib.util.spec_from_file_location(f'snapshot_{name}', PROJECT / 'scripts' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_command_lines(monkeypatch):
    parsers = []

    def stop(parser, *args, **kwargs):
        parsers.append(parser)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    now = {}
    for name in ('basicsr/test', 'basicsr/train', 'ext_core.doctor', *SCRIPTS):
        run = command(name)
        with pytest.raises(Parsed):
            run([])
        now[name] = arguments(parsers.pop())
    changed = differences(recorded('commands'), now)
    assert not changed, 'tests/golden/commands.json:\n' + '\n'.join(changed)


# ---------------------------------------------------------------------- recipes
def digest(opt: dict) -> str:
    return hashlib.sha256(json.dumps(opt, sort_keys=True).encode()).hexdigest()


def resolved(path: Path) -> dict[str, str]:
    """SHA-256 of the options with everything merged; of the recipes at the top, also with ``--demo``."""
    name = path.relative_to(PROJECT).as_posix()
    found = {name: digest(options.load(path))}
    if path.parent == PROJECT / 'options':
        is_train = not path.name.startswith('test')
        args = options.parse_arguments(['-opt', str(path), '--demo'], is_train=is_train)
        found[f'{name} --demo'] = digest(options.resolve(args, PROJECT, is_train=is_train)[0])
    return found


def test_recipes_resolve_to_the_same_options():
    now = {name: value for path in RECIPES for name, value in resolved(path).items()}
    changed = differences(recorded('resolved_options'), now)
    assert not changed, (
        'tests/golden/resolved_options.json:\n' + '\n'.join(changed) + '\nA recipe as it was recorded, and its bases: '
        'git show $(git log -1 --format=%h -- tests/golden/resolved_options.json):options/NAME.yml'
    )


def test_the_order_of_keys_does_not_matter():
    assert digest({'a': {'b': 1, 'c': [1, 2]}, 'd': None}) == digest({'d': None, 'a': {'c': [1, 2], 'b': 1}})
    assert digest({'a': [1, 2]}) != digest({'a': [2, 1]})
