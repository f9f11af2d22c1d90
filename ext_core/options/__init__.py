"""Option files: declared keys (``declared``), loading and merging, the check, the schema and the reference pages.

From an option file to a checked run: ``loading.resolve``, ``check.check_options``, ``check.find_warnings``.
"""
