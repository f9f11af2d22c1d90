"""Metrics with BasicSR's signature. Every ``*_metric.py`` of this folder is imported when the plugin registers."""
