"""Reads the query or the body of a request into a message. Messages are msgspec structs, in the files of their
handlers.

As in MLflow, unknown fields are ignored, null means that a field is not set, numbers may be text in any notation, and
names may be in camel case. Unlike MLflow, which stores zeros for values that it cannot read, a wrong type is an error
that names the field.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import orjson
from starlette.requests import ClientDisconnect, Request

from runstream_service.http.mlflow_errors import MlflowError, invalid
from runstream_service.mlflow.json_size import check_values, in_thread_if_big

T = TypeVar("T", bound="Message")

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]

# A batch of 1,000 metrics has about 170 KB; a tag of a run may have megabytes of table references.
MAX_BODY_BYTES = 32 << 20
MAX_QUERY_FIELDS = 1_000
# As in protobuf; MLflow's deepest message has 5.
MAX_LEVELS = 100
# Names of fields up to this length are cached. No message has a longer one, but callers can send any names.
_CACHED_CHARACTERS = 100
# Python needs time in the square of the number of digits to parse an integer.
_MAX_NUMBER_CHARACTERS = 400

_PLACE = re.compile(r"(?P<what>.*) - at `\$\.?(?P<path>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>\w+)`")
_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_SEE = " See the API docs for more information about request parameters."


class Message(msgspec.Struct, kw_only=True):
    """Base class of all messages. A field without a default is required."""


class Pair(Message):
    """A param or a tag."""

    key: str
    value: str = ""


async def read(request: Request, kind: type[T]) -> T:
    """The message of a request. A GET has it in its query, or in its body if there is no query; any other request in
    its body. Parameters of the path are fields, too.

    Raises:
        MlflowError: the request has no such message; names the field.
    """
    path = request.path_params
    if request.method not in ("GET", "HEAD"):
        body = await read_body(request)
        # As in MLflow. For other methods, a browser sends a preflight request before those of a foreign page.
        content_type = request.headers.get("content-type", "") if request.method in ("POST", "PUT") else ""
        return await in_thread_if_big(body, _from_body, body, content_type, path, kind)
    if request.query_params:
        return convert({**_from_query(request, kind), **path}, kind)
    body = await _body_of_get(request)
    return await in_thread_if_big(body, _from_body_of_get, body, path, kind)


def check_query(request: Request) -> None:
    """Checks a query before it is parsed: tens of thousands of fields take tens of milliseconds. Raises MlflowError."""
    if request.scope["query_string"].count(b"&") > MAX_QUERY_FIELDS:
        raise invalid(f"The request's query has more than {MAX_QUERY_FIELDS:,} fields.")


async def read_body(request: Request) -> bytes:
    """The whole body. Raises MlflowError if it is too long, or if the client disconnects."""
    if int_header(request, "content-length") > MAX_BODY_BYTES:
        raise _too_long()  # before its client sends all of it
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise _too_long()
    except ClientDisconnect as error:
        raise MlflowError("BAD_REQUEST", "The connection ended before the whole request had arrived.") from error
    return b"".join(chunks)


def int_header(request: Request, name: str) -> int:
    """The whole number in a header; 0 if there is no header, or no number in it."""
    text = request.headers.get(name, "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def _too_long() -> MlflowError:
    return invalid(f"The request's body has more than {MAX_BODY_BYTES:,} bytes; send it in several requests.")


def parse_json(body: bytes, content_type: str) -> Any:
    """The object in a body. An empty body is an empty object; old clients send an object encoded twice.

    Raises:
        MlflowError: the content type is another one, or the body is not a JSON object or has too many values.
    """
    check_content_type(content_type)
    check_values(body)
    try:
        parsed = orjson.loads(body) if body else {}
        if isinstance(parsed, str):
            inner = parsed.encode()
            check_values(inner)
            parsed = orjson.loads(inner)
    except orjson.JSONDecodeError as error:
        raise MlflowError("BAD_REQUEST", f"The request's body is not JSON: {error}. {_hint(body)}") from error
    if not isinstance(parsed, dict):
        raise invalid(f"The request's body must be a JSON object, not {type(parsed).__name__}.")
    return parsed


def check_content_type(content_type: str) -> None:
    """Raises MlflowError if the content type of a body is not JSON."""
    if content_type.partition(";")[0].strip().lower() not in ("application/json", ""):
        # Needed for security: a browser sends other types to a foreign server without asking it first.
        raise invalid(f"Bad Request. Content-Type should be one of ['application/json'], not {content_type[:80]!r}.")


def normalise(value: Any, *, levels: int = MAX_LEVELS) -> Any:
    """A decoded JSON value with the names of all fields in snake case, without null fields, and with `run_id` for its
    old name `run_uuid`.

    Raises:
        MlflowError: a field is there in both spellings, or the value is nested too deeply.
    """
    if not isinstance(value, list | dict):
        return value
    if levels == 0:
        raise invalid(f"The request has more than {MAX_LEVELS} levels of objects and lists within each other.")
    if isinstance(value, list):
        return [normalise(item, levels=levels - 1) for item in value]
    found: dict[str, Any] = {}
    for name, item in value.items():
        plain = snake(name)
        if plain in found:
            raise invalid(f"Request specifies both {plain!r} and {name!r}; provide only one of them.")
        if item is not None:
            found[plain] = normalise(item, levels=levels - 1)
    run_uuid = found.pop("run_uuid", None)
    if run_uuid is not None:
        found.setdefault("run_id", run_uuid)
    return found


def convert(raw: dict[str, Any], kind: type[T]) -> T:
    """A message from normalised fields, with types and ranges checked. Raises MlflowError."""
    try:
        return msgspec.convert(_with_numbers(raw, kind), kind)
    except msgspec.ValidationError as error:
        raise _explained(str(error), raw) from error


def whole_number(value: Any) -> int | None:
    """The whole number in a value in any notation that MLflow accepts, such as 5, 5.0, "5" or "1e+05" (R's notation of
    100000); None for anything else."""
    if isinstance(value, str):
        try:
            # MLflow also accepts white space, except spaces.
            return None if " " in value or len(value) > _MAX_NUMBER_CHARACTERS else int(value)
        except ValueError:
            value = real_number(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def real_number(value: Any) -> float | None:
    """The number, NaN or infinity in a value in any notation that MLflow accepts; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > _MAX_NUMBER_CHARACTERS:
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def check_not_empty(value: str, name: str) -> str:
    """Returns the text of a required field. Raises MlflowError if it is empty."""
    if not value:
        raise missing(name)
    return value


def missing(name: str) -> MlflowError:
    """MLflow's error for a missing field."""
    return refused(f"Missing value for required parameter '{name}'.")


def refused(why: str) -> MlflowError:
    """MLflow's error for a request that its schema does not allow."""
    return invalid(why + _SEE)


def wrong_type(name: str, value: Any) -> MlflowError:
    """MLflow's error for a value of a wrong type."""
    # Of a long text or list, only the part that is shown is formatted.
    part = value[:200] if isinstance(value, str | list) else value
    shown = json.dumps(part, sort_keys=True, separators=(",", ":"), default=repr)[:200]
    hint = f" Hint: Value was of type '{type(value).__name__}'."
    return invalid(f"Invalid value {shown} for parameter '{name}' supplied: {hint}{_SEE}")


def _from_body(body: bytes, content_type: str, path: dict[str, Any], kind: type[T]) -> T:
    return convert({**normalise(parse_json(body, content_type)), **path}, kind)


async def _body_of_get(request: Request) -> bytes:
    if "content-length" not in request.headers and "transfer-encoding" not in request.headers:
        return b""
    return await read_body(request)


def _from_body_of_get(body: bytes, path: dict[str, Any], kind: type[T]) -> T:
    """The message in the body of a GET. As in MLflow, the content type does not matter, and a body that is not JSON is
    ignored. That is safe: a foreign page cannot make a browser send a body with a GET."""
    try:
        return _from_body(body, "", path, kind)
    except MlflowError as error:
        if error.code == "BAD_REQUEST":
            return convert(path, kind)
        raise


def _from_query(request: Request, kind: type[Message]) -> dict[str, Any]:
    lists = _list_fields(kind)
    names = {name: snake(name) for name in request.query_params}
    raw: dict[str, Any] = {
        plain: request.query_params.getlist(name) if plain in lists else request.query_params.getlist(name)[0]
        for name, plain in names.items()
    }
    for name in _bool_fields(kind) & raw.keys():
        raw[name] = _read_bool(raw[name])
    return normalise(raw)  # type: ignore[no-any-return]  # a dict of a dict


def _read_bool(text: str) -> bool:
    """Parses a boolean in a query as MLflow does (in a body, it is a JSON boolean). Raises MlflowError."""
    if text.lower() not in ("true", "false"):
        raise invalid(f"Invalid boolean value: {text[:80]}, must be 'true' or 'false'.")
    return text.lower() == "true"


def _with_numbers(raw: Any, kind: type[Message]) -> Any:
    """Fields with their whole numbers converted from all notations that MLflow accepts; msgspec accepts fewer."""
    fields = _number_fields(kind)
    if not fields or not isinstance(raw, dict):
        return raw
    changed = dict(raw)
    for name, inner in fields.items():
        value = raw.get(name)
        if inner is not None:
            if isinstance(value, list):
                changed[name] = [_with_numbers(item, inner) for item in value]
        elif isinstance(value, str | float) and (number := whole_number(value)) is not None:
            changed[name] = number
    return changed


@functools.cache
def _number_fields(kind: type[Message]) -> Mapping[str, type[Message] | None]:
    """The fields with whole numbers (their value is None); and lists of messages that have such fields, with the kind
    of these messages."""
    found: dict[str, type[Message] | None] = {}
    for name, hint in get_type_hints(kind).items():
        item = get_args(hint)[0] if get_origin(hint) is tuple else None
        if isinstance(item, type) and issubclass(item, Message):
            if _number_fields(item):
                found[name] = item
        elif int in (hint, *get_args(hint)) and str not in get_args(hint):
            found[name] = None
    return found


@functools.cache
def _bool_fields(kind: type[Message]) -> frozenset[str]:
    return frozenset(name for name, hint in get_type_hints(kind).items() if hint is bool)


@functools.cache
def _list_fields(kind: type[Message]) -> frozenset[str]:
    """The fields that a query may repeat: those of type tuple[X, ...]."""
    return frozenset(name for name, hint in get_type_hints(kind).items() if get_origin(hint) is tuple)


def snake(name: str) -> str:
    """Converts a name from camel case, which protobuf's JSON allows, to snake case."""
    return _snake(name) if len(name) <= _CACHED_CHARACTERS else _HUMP.sub(r"_\1", name).lower()


@functools.lru_cache(maxsize=4_096)
def _snake(name: str) -> str:
    return _HUMP.sub(r"_\1", name).lower()


def _explained(message: str, raw: dict[str, Any]) -> MlflowError:
    """The text of msgspec's error as MLflow's error."""
    place = _PLACE.fullmatch(message)
    what, path = (place["what"], place["path"]) if place else (message, "")
    absent = _MISSING.fullmatch(what)
    if absent is not None:
        return missing(f"{path}.{absent['name']}" if path else absent["name"])
    return wrong_type(path, _value_at(raw, path))


def _value_at(raw: Any, path: str) -> Any:
    for part in re.findall(r"\w+", path):
        raw = raw[int(part)] if isinstance(raw, list) else raw[part]
    return raw


def _hint(body: bytes) -> str:
    """A hint if the body has literals such as NaN, which Python's json writes although they are not JSON."""
    if re.search(rb":\s*-?(NaN|Infinity)\b", body):
        return 'Send not-a-number and the infinities as text: "NaN", "Infinity", "-Infinity".'
    return ""
