"""Trained networks at work on files: enlarging photographs, degrading images."""
