"""Generators as files: recognised, opened, described, exported."""
