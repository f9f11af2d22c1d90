"""Datasets and data preparation. Every ``*_dataset.py`` of this folder is imported when the plugin registers."""
