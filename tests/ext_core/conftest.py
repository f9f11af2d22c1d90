"""Fixtures that several files here use."""

from check_recipes import data  # noqa: F401  # a current directory with pairs of images
