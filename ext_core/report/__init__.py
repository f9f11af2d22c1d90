"""One page about trainings: their curves, options, figures and pictures, read from what training leaves on the disk."""
