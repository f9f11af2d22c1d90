"""Our imports as BasicSR's, in code, strings and docstrings."""

import ast
import re
from collections.abc import Mapping

from ext_core.errors import UserError
from ext_core.upstream.source import LINE, import_lines

PACKAGES = ('ext_arch', 'ext_losses', 'ext_data', 'ext_metrics', 'ext_models', 'ext_core')
OURS = re.compile(rf'\b(?:{"|".join(PACKAGES)})\b')
_DOTTED = re.compile(rf'\b(?:{"|".join(PACKAGES)})(?:\.\w+)+')


def new_name(dotted: str, moved: Mapping[str, str]) -> str | None:
    """The new name of a module, or of something in it; None where the module does not move.

    Args:
        dotted (str): Such as 'ext_losses.mmd.mmd2'.
        moved (Mapping[str, str]): New names of modules and packages by their old ones.
    """
    parts = dotted.split('.')
    for length in range(len(parts), 0, -1):
        found = moved.get('.'.join(parts[:length]))
        if found is not None:
            return '.'.join([found, *parts[length:]])
    return None


def rewrite(text: str, moved: Mapping[str, str], deeper: int = 0, name: str = 'the file') -> str:
    """Replace our modules by where they go.

    Known are ``import a.b``, ``import a.b as c``, ``from a import b`` with a module b, ``from a.b import c``, at the
    top and in functions, and dotted names in code, strings and comments.

    Args:
        text (str): A Python module.
        moved (Mapping[str, str]): New names of modules and packages by their old ones.
        deeper (int): By how many folders the file moves down: ``parents[n]`` of ``__file__`` follows. Default: 0.
        name (str): The file, for messages.

    Raises:
        UserError: For a relative import, or where one of our names is left.
    """
    lines = text.splitlines()
    tree = ast.parse(text)
    for node in sorted(ast.walk(tree), key=lambda node: -getattr(node, 'lineno', 0)):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise UserError(f'{name}:{node.lineno}: a relative import cannot be exported. Write the whole name.')
        if isinstance(node, ast.Import | ast.ImportFrom) and _is_ours(node):
            statements = _import(node, moved) if isinstance(node, ast.Import) else _import_from(node, moved)
            made = [line for statement in statements for line in import_lines(statement, statement.names)]
            comment = re.search(r'\s+# .*$', lines[(node.end_lineno or node.lineno) - 1])
            made[-1] += comment[0] if comment else ''
            lines[node.lineno - 1 : node.end_lineno] = made
        elif deeper and isinstance(node, ast.Subscript) and _is_parent_of_file(node):
            index = node.slice.value  # type: ignore[attr-defined]
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = line.replace(f'parents[{index}]', f'parents[{index + deeper}]')
    text = '\n'.join(lines) + '\n'
    text = _wrapped(_DOTTED.sub(lambda found: new_name(found[0], moved) or found[0], text))
    _require_none_left(text, name)
    return text


def _wrapped(text: str) -> str:
    """Lines of docstrings that became too long pass words on to the next line of their paragraph."""
    lines = text.splitlines()
    strings = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr) and _is_text(node.value)]
    for node in sorted(strings, key=lambda node: -node.lineno):
        number, end = node.lineno - 1, node.end_lineno or node.lineno
        while number < end:
            line = lines[number]
            if len(line) > LINE:
                place = line.rfind(' ', 0, LINE + 1)
                indent = ' ' * (len(line) - len(line.lstrip()))
                lines[number], rest = line[:place], line[place + 1 :]
                following = lines[number + 1] if number + 1 < end else ''
                words = following[len(indent) :]
                if following.startswith(indent) and words[:1].isalnum():
                    lines[number + 1] = f'{indent}{rest} {words}'
                else:
                    lines.insert(number + 1, indent + rest)
                    end += 1
            number += 1
    return '\n'.join(lines) + '\n'


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_ours(node: ast.Import | ast.ImportFrom) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or '']
    return any(name.split('.')[0] in PACKAGES for name in names)


def _import(node: ast.Import, moved: Mapping[str, str]) -> list[ast.Import]:
    for alias in node.names:
        if alias.name.split('.')[0] in PACKAGES:
            alias.name = new_name(alias.name, moved) or alias.name
    return [node]


def _import_from(node: ast.ImportFrom, moved: Mapping[str, str]) -> list[ast.ImportFrom]:
    """One statement for each new module: those that are imported whole come from where their package went."""
    old = node.module or ''
    names: dict[str, list[ast.alias]] = {}
    for alias in node.names:
        whole = moved.get(f'{old}.{alias.name}')
        if whole is None:
            names.setdefault(new_name(old, moved) or old, []).append(alias)
            continue
        parent, _, leaf = whole.rpartition('.')
        bound = alias.asname or alias.name
        names.setdefault(parent, []).append(ast.alias(leaf, bound if bound != leaf else None))
    column = node.col_offset
    return [ast.ImportFrom(module, aliases, 0, lineno=1, col_offset=column) for module, aliases in names.items()]


def _is_parent_of_file(node: ast.Subscript) -> bool:
    inside = ast.dump(node.value)
    return "attr='parents'" in inside and "id='__file__'" in inside and isinstance(node.slice, ast.Constant)


def _require_none_left(text: str, name: str) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        left = OURS.search(line)
        if left:
            raise UserError(
                f'{name}:{number} of the exported text names {left[0]}, which BasicSR does not have:\n'
                f'  {line.strip()}\n'
                'Export that module too, or say it otherwise in ext_core/upstream/edits.py.'
            )
