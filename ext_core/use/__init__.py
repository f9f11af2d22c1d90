"""Trained networks at work: enlarging, degrading, measuring, and pages of results."""
