"""API keys as text: ``dcpi_<id>_<secret><checksum>``.

The id finds the row with one look-up. The checksum tells a mistyped key from a wrong one without
asking the database, and lets scanners for leaked secrets be certain. Of the secret only an HMAC is
stored: it has 192 random bits, so there is nothing to guess that a slow hash would protect, and
without the server's own secret a copy of the database is worth nothing.
"""

import hmac
import re
import secrets
import zlib

SECRET_BYTES = 24
PREFIX = "dcpi_"
ROW_PREFIX = "key_"

_FORM = re.compile(r"dcpi_([0-9A-Z]{26})_[0-9a-f]{48}([0-9a-f]{8})")


def mint(key_id: str) -> str:
    """A new key for the row ``key_id``; it cannot be had again."""
    text = PREFIX + key_id.removeprefix(ROW_PREFIX) + "_" + secrets.token_hex(SECRET_BYTES)
    return text + _checksum(text)


def id_in(token: str) -> str | None:
    """Id of the row that the key claims to belong to; None if this is no key at all."""
    found = _FORM.fullmatch(token)
    if found is None or _checksum(token[:-8]) != found[2]:
        return None
    return ROW_PREFIX + found[1]


def digest(token: str, secret: str) -> str:
    """HMAC-SHA256 of the key under the server's secret, in hexadecimal."""
    return hmac.new(secret.encode(), token.encode(), "sha256").hexdigest()


def matches(token: str, secret: str, known: str) -> bool:
    """Whether ``known`` is the key's digest, in a time that does not tell how nearly."""
    return hmac.compare_digest(digest(token, secret), known)


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
