"""One value of an option file changed, for tests of what is said of it."""


def changed(opt: dict, path: str, value) -> dict:
    """The options with ``value`` at ``a:b:c``, changed in place; ... removes the key."""
    *above, last = path.split(':')
    place = opt
    for key in above:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return opt
