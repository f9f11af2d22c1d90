"""The road from an option file to a finished run: options, training, networks as files, use, compatibility.

- from the command line to a run: ``launch``, ``config`` (option files), ``check`` and ``schema`` (what is right in
  them), ``compat`` (BasicSR on the present stack), ``registration``, ``training`` (the loop), ``saving`` (checkpoints)
- trained networks: ``generators`` (as files), ``images``, ``inference``
- evidence: ``report`` (one page about trainings), ``benchmark``

Importing this package imports nothing else; ``ext_core.registration.register_all()`` is the one entry point that makes
BasicSR importable on the present stack and puts our components into its registries.
"""

__version__ = '0.1.0'
