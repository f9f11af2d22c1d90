"""Networks. Every ``*_arch.py`` in this folder is imported, and so registered, with the package."""

from ext_core.discovery import import_siblings

import_siblings(__file__, __name__, '_arch')
