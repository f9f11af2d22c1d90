"""Losses and what they share. Every ``*_loss.py`` of this folder is imported when the plugin registers."""
