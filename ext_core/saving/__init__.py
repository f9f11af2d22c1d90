"""Checkpoints: written beside the training, named by a manifest, found again, and loaded."""
