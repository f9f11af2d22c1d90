"""The training loop: batches, checkpoints, resuming, numbers that are not finite, the dry run."""
