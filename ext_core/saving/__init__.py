"""Checkpoints: written whole or not at all, named by a manifest, found again, and loaded."""
