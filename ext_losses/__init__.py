"""Losses and the modules that stand beside them. Every ``*_loss.py`` in this folder is imported, and so registered."""

from ext_core.discovery import import_siblings

import_siblings(__file__, __name__, '_loss')
