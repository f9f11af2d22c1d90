"""Trained networks as files: recognised, opened, described, exported."""
