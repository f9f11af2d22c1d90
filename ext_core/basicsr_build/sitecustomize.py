"""What cures the setup.py of BasicSR 1.4.2 on Python 3.13 and later. Only ``ext_core/install_basicsr.py`` uses it.

That setup.py reads its version by ``exec(...)`` in a function, followed by ``locals()['__version__']``. Since Python
3.13 (PEP 667) ``exec`` without namespaces writes into a copy of a function's variables, and the name is not found. Here
it writes into the variables themselves, as before. Python imports a module of this name when it starts.
"""

import builtins
import sys

_exec = builtins.exec


def _exec_in_the_caller(source, globals=None, locals=None, /, **keywords):
    caller = sys._getframe(1)
    if globals is None:
        globals, locals = caller.f_globals, caller.f_locals if locals is None else locals
    return _exec(source, globals, locals, **keywords)


if sys.version_info >= (3, 13):
    builtins.exec = _exec_in_the_caller
