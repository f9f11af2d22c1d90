"""How the plugin meets BasicSR: compatibility, registration, options, launching, checkpoints.

Importing this package imports nothing else; ``ext_core.registration.register_all()`` is the one entry point that makes
BasicSR importable on the present stack and puts our components into its registries.
"""

__version__ = '0.1.0'
