"""Pages of a list: their size, and the tokens with the position of the next page."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from runstream_service.errors.core import InvalidField

DEFAULT_SIZE, MAX_SIZE = 100, 1_000
# The longest tokens contain one or two names.
_MAX_TOKEN_CHARACTERS = 8_192


def check_page_size(size: int) -> int:
    """The size of a page; 0 means DEFAULT_SIZE. Raises InvalidField if it is not from 0 to MAX_SIZE."""
    if not 0 <= size <= MAX_SIZE:
        raise InvalidField(f"page_size: {size} is not from 0 to {MAX_SIZE:,}", field="page_size")
    return size or DEFAULT_SIZE


def make_token(*, of: str, after: list[int | str]) -> str:
    """An opaque token for the page after an entry. `of` names the list: the token is valid for this list only.

    Its checksum detects mistakes, not forgery: a token gives access to nothing that its holder may not see.
    """
    payload = json.dumps([of, *after], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.crc32(payload).to_bytes(4, "big") + payload).decode().rstrip("=")


def make_offset_token(*, of: str, offset: int) -> str:
    """A token for a list whose pages use an offset."""
    return make_token(of=of, after=[offset])


def read_offset_token(token: str, *, of: str) -> int:
    """The offset of a page, as passed to `make_offset_token`; 0 for the first page. Raises InvalidField."""
    (offset,) = read_token(token, of=of, shape=(int,)) or (0,)
    if offset < 0:
        raise _no_token()
    return int(offset)


def read_token(token: str, *, of: str, shape: tuple[type[int] | type[str], ...]) -> list[Any] | None:
    """The values `after` that were passed to `make_token`; None for an empty token, the first page. Raises InvalidField
    if the token is for another list, or the values do not have the types `shape`."""
    if not token:
        return None
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise _no_token()
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        checksum, payload = int.from_bytes(raw[:4], "big"), raw[4:]
        if checksum != zlib.crc32(payload):
            raise ValueError("checksum")
        named, *after = json.loads(payload)
        if tuple(map(type, after)) != shape or any(isinstance(part, int) and abs(part) >= 2**63 for part in after):
            raise ValueError("shape")
    except (ValueError, TypeError, RecursionError) as error:
        raise _no_token() from error
    if named != of:
        raise InvalidField(
            "page_token: belongs to another list; begin with the first page of this one, without a token",
            field="page_token",
        )
    return list(after)


def _no_token() -> InvalidField:
    return InvalidField("page_token: is not one of this service; pass next_page_token unchanged", field="page_token")
