"""From folders of photographs to the sub-images and LMDBs that BasicSR's datasets read. Nothing here downloads.

``layouts`` knows how published sets are laid out, ``pairs`` finds HR and LR files, ``images`` and ``pair_images`` make
the pixels, ``pipeline`` does it in parallel and, with ``ledger``, resumably, ``lmdb_writer`` packs, ``demo`` makes a
small set from photographs that scikit-image ships. The command line on top is ``scripts/prepare_data.py``.
"""
