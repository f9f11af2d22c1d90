"""Our components written into a BasicSR source tree, as a pull request would add them.

``source`` reads a module and cuts what is not needed, ``closure`` finds what is, ``rewrite`` turns our imports into
BasicSR's, ``edits`` are the texts that are changed by name, ``test_files`` and ``recipes`` choose what fits, ``plan``
puts it together, ``tree`` looks after the checkout. Nothing here imports BasicSR or our components.
"""
