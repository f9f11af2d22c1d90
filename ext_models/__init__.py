"""Training procedures. Every ``*_model.py`` of this folder is imported when the plugin registers."""
