"""Upscalers measured on test sets."""
