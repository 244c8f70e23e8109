"""Reads the query or the body of a request into a message. Unlike MLflow's routes, which accept what old clients send,
every wrong or unknown field is an error that names it."""

from __future__ import annotations

import re
from typing import Any, TypeVar, get_origin, get_type_hints

import msgspec
from starlette.requests import ClientDisconnect, Request

from runstream_service.errors.core import InvalidField

T = TypeVar("T", bound="Message")

# The longest request is a chart with 1,000 keys: 1 MB if each of their characters takes four bytes.
MAX_BODY_BYTES = 1 << 20
MAX_QUERY_BYTES = 8_192
_PLACE = re.compile(r"(?P<what>.*) - at `\$\.?(?P<path>[^`]*)`", re.DOTALL)
_NAMED = re.compile(r"Object (?:missing required|contains unknown) field `(?P<name>[^`]*)`")
# A browser sends the header Last-Event-ID when it opens a stream of events again. A page cannot set that header, so it
# sends a field with this name instead.
_LAST_EVENT_ID = "last_event_id"


class Message(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base class of all messages. A field without a default is required; fields from the path have a default."""


class Empty(Message):
    """A request without fields."""


async def read(request: Request, kind: type[T]) -> T:
    """The message of a request: from the query of a GET or DELETE, from the body of any other, and from the path.

    Raises:
        InvalidField: with the name of the field.
    """
    try:
        message = _from_query(request, kind) if request.method in ("GET", "DELETE") else await _from_body(request, kind)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidField(f"body: is not JSON: {error}", field="body") from error
    return msgspec.structs.replace(message, **request.path_params) if request.path_params else message


def _from_query(request: Request, kind: type[T]) -> T:
    if len(request.scope["query_string"]) > MAX_QUERY_BYTES:
        raise InvalidField(f"query: has more than {MAX_QUERY_BYTES:,} bytes", field="query")
    hints, query = get_type_hints(kind), request.query_params
    raw: dict[str, Any] = {
        name: query.getlist(name) if get_origin(hints.get(name)) is tuple else query[name] for name in query
    }
    if _LAST_EVENT_ID in hints and (cursor := request.headers.get("last-event-id")) is not None:
        raw[_LAST_EVENT_ID] = cursor
    return msgspec.convert(raw, kind, strict=False)


async def _from_body(request: Request, kind: type[T]) -> T:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        # Needed for security: a browser sends other types to a foreign server without asking it first.
        raise InvalidField(f"content-type: is {content_type[:80]!r}; send application/json", field="content-type")
    return msgspec.json.decode(await _body(request), type=kind)


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise InvalidField(f"body: has more than {MAX_BODY_BYTES:,} bytes", field="body")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise InvalidField("body: the connection ended before the whole body had arrived", field="body") from error
    return b"".join(chunks) or b"{}"


def _explained(message: str) -> InvalidField:
    """The text of msgspec's error, with the name of the field in front."""
    place = _PLACE.fullmatch(message)
    what, path = (place["what"], place["path"]) if place else (message, "")
    named = _NAMED.fullmatch(what)
    if named is not None:
        path, what = f"{path}.{named['name']}" if path else named["name"], "is missing"
        what = "does not exist" if "unknown" in message else what
    what = what[:1].lower() + what[1:]
    return InvalidField(f"{path or 'body'}: {what}", field=re.split(r"[.\[]", path)[0] or "body")
