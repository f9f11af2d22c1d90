"""The road from an option file to a finished run: options, training, networks as files, use, compatibility.

Importing this package imports nothing else; ``ext_core.registration.register_all()`` is the one entry point that makes
BasicSR importable on the present stack and puts our components into its registries.
"""

__version__ = '0.1.0'
