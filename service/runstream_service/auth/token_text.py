"""The text of a token: `rst_`, 34 random characters, and a checksum of 6.

The prefix lets people and scanners for leaked secrets recognise it. The checksum distinguishes a mistyped token
from an unknown one without a query. 34 characters of 62 are 202 bits: such a token cannot be guessed, so the database
keeps a plain SHA-256 of it, not one of the slow hashes that protect passwords.
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
    """The text of a new, random token."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{PREFIX}{body}{_checksum(body)}"


def is_token(text: str) -> bool:
    """Whether a text has the form of a token, with the right checksum."""
    if not _FORM.fullmatch(text):
        return False
    body = text.removeprefix(PREFIX)
    return _checksum(body[:_RANDOM]) == body[_RANDOM:]


def hash_of(text: str) -> bytes:
    """The SHA-256 of a token, a session or a code, which is stored instead of its text: 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), []
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
