"""Metrics with BasicSR's signature. Every ``*_metric.py`` in this folder is imported, and so registered."""

from ext_core.discovery import import_siblings

import_siblings(__file__, __name__, '_metric')
