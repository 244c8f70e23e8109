"""The text of a token: `rst_`, 34 random characters, and a checksum of 6.

The prefix lets people and scanners for leaked secrets recognise it. The checksum tells a mistyped token from one that
is unknown, without a look into the database. 34 characters of 62 are 202 bits, so a plain SHA-256 is enough to keep
them: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib

PREFIX = "rst_"
_ALPHABET = string.digits + string.ascii_letters
_RANDOM, _CHECKSUM = 34, 6
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}")


def new_token() -> str:
    """A token that nobody has."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{PREFIX}{body}{_checksum(body)}"


def is_token(text: str) -> bool:
    """Whether this has the form of a token, with the right checksum."""
    if not _FORM.fullmatch(text):
        return False
    body = text.removeprefix(PREFIX)
    return _checksum(body[:_RANDOM]) == body[_RANDOM:]


def hash_of(text: str) -> bytes:
    """What is stored of a token: 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), []
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
