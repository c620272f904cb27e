"""Ids that are nobody's again: a database that goes back hands out those that it counts itself."""

import secrets


def random_id() -> int:
    """Return an id of 31 bits for rows that are few, and whose id people see."""
    return secrets.randbelow(2**31 - 1) + 1


def random_token() -> int:
    """Return an id of 62 bits for rows of which one is made for each trial."""
    return secrets.randbits(62) + 1
