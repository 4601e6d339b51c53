"""Identifiers: a prefix that says what it is, then a ULID, so that they sort by time."""

import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32


def new_id(prefix: str) -> str:
    """A new identifier such as ``job_01J...``: 48 bits of time, 80 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    digits = (_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
    return f"{prefix}_{''.join(digits)}"
