"""Networks. Every ``*_arch.py`` of this folder is imported when the plugin registers."""
