"""Every RPC and every route, sent what nobody would send, by strangers and by members of another workspace.

What must hold: the service neither crashes nor answers with an error of its own, its memory does not grow, and no byte
of the other workspace is in any answer. Every text field there contains a marker, which no request contains.

A short run by default, always the same. `FUZZ_SECONDS=600 .venv/bin/pytest -s tests/access/test_fuzzing.py` fuzzes for
ten minutes with new seeds, which it prints; `FUZZ_SEED=...` repeats one.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import grpc
import hypothesis
import hypothesis.strategies as st
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from msgspec.structs import fields

from runstream_service.auth.token_text import new_token
from runstream_service.mlflow.route_kinds import RawRoute
from tests.access.conftest import ROLES, Team, make_things, team_of
from tests.support.access import make_token, make_workspace
from tests.support.requests_of_routes import Entry, Things, absent, entries, key_of, methods, paths_of, requests_of
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

FUZZ_SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
SHORT_EXAMPLES = 400  # of each kind
MARK = f"MARK{uuid.uuid4().hex[:16]}"
MARKED_VALUE = 1_234_567.890_123
# How much more memory the service may have at the end than when it had answered some thousand requests.
GROWTH_BYTES = 64 << 20

pytestmark = pytest.mark.timeout(120 + FUZZ_SECONDS)

METHODS, ROUTES = tuple(methods()), entries()
OURS = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS")
EDGES = (0, 1, -1, 10, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30)
TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "\0",
    "\ud800",
    "..",
    "../..",
    "%2e%2e/",
    "%00",
    "a/b",
    "x" * 5_000,
    "'",
    '"',
    "None",
    "NaN",
)
CODE = (
    *(
        "'; SELECT 1; --",
        "metrics.loss > 0",
        "tags.`a` = 'b'",
        "name ILIKE '%'",
        "name LIKE '%%' ORDER BY 1",
        "{}",
        "[]",
    ),
)


class Fuzz:
    """The callers, and what they name: objects of another team, their own, and such that nobody has. Strategies are
    made once, since that takes longer than to draw from them."""

    def __init__(self, serve: ServeProcess, team: Team, named: tuple[Things, ...]) -> None:
        self.serve = serve
        self.team = team
        self.named = named
        self.sent = 0
        # Mostly the one that may do most. A token of a member is named by its role: see `token`.
        self.tokens = st.sampled_from(("manage", "manage", "manage", "write", "read", "", "rst_", new_token()))
        self.texts = st.one_of(
            *[st.sampled_from(self._names())] * 3, st.sampled_from(TEXTS), st.sampled_from(CODE), st.text(max_size=30)
        )
        workspaces = [*(one.workspace for one in named), "", "default", "purged", "x" * 5_000, "%00"]
        self.metadata = st.sampled_from(
            (
                *[()] * 10,
                *((("x-mlflow-workspace", name),) for name in workspaces),
                (("x-forwarded-for", "127.0.0.1, ::1"), ("x-workspace", "team-a"), ("x-user", "admin")),
            )
        )
        self.messages: dict[str, st.SearchStrategy[Message]] = {}

    def _names(self) -> tuple[str, ...]:
        found: list[str] = []
        for one in self.named:
            paths = (
                f"{one.experiment_id}/{one.run_id}/artifacts/file",
                f"{one.experiment_id}/models/{one.model_id}/artifacts/file",
                f"mlflow-artifacts:/{one.experiment_id}/{one.run_id}/artifacts",
                f"runs:/{one.run_id}/artifacts",
                f"models:/{one.model_id}",
                f"models:/{one.model}/1",
                f"name = '{one.experiment}'",
                f"run_id = '{one.run_id}'",
            )
            ids = (one.experiment_id, one.experiment, one.run_id, one.model, one.model_id, one.workspace, one.token_id)
            found += [*ids, *paths, "loss", "champion", "1", "file"]
        return tuple(found)

    def token(self, drawn: str) -> str:
        """The text of a token that was drawn."""
        return self.team.tokens.get(drawn, drawn)

    def note(self, *, refused: bool, drawn: str) -> None:
        """Counts a request. A member may revoke the token that it has; then it gets a new one."""
        self.sent += 1
        if refused and drawn in self.team.tokens:
            for role in ROLES:
                name = f"{role} {uuid.uuid4().hex}"
                self.team.tokens[role] = make_token(self.serve, name=name, role=role, workspace=self.team.name)

    def message(self, kind: Descriptor) -> st.SearchStrategy[Message]:
        """Messages of a type, with any of its fields."""
        if kind.full_name not in self.messages:
            made = GetMessageClass(kind)
            fields_of = {field.name: self._field(field) for field in kind.fields}
            chosen = st.fixed_dictionaries({}, optional=fields_of)
            self.messages[kind.full_name] = chosen.map(functools.partial(_built, made))
        return self.messages[kind.full_name]

    def _field(self, field: FieldDescriptor) -> st.SearchStrategy[Any]:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return st.dictionaries(self.texts, self.texts, max_size=3)
        one: st.SearchStrategy[Any] = self.message(field.message_type) if field.message_type else self._scalar(field)
        return st.lists(one, max_size=3) if field.is_repeated else one

    def _scalar(self, field: FieldDescriptor) -> st.SearchStrategy[Any]:
        ids = [int(one.experiment_id) for one in self.named if one.experiment_id.isdigit()]
        integers = st.one_of(st.sampled_from(EDGES), st.integers(-3, 20), st.sampled_from(ids))
        if field.type == FieldDescriptor.TYPE_BYTES:
            return st.one_of(st.binary(max_size=20), st.just(bytes(range(16))))
        return {
            FieldDescriptor.CPPTYPE_STRING: self.texts,
            FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
            FieldDescriptor.CPPTYPE_ENUM: st.integers(-1, 6),
            FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
            FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
        }.get(field.cpp_type, integers)


def _built(made: type[Message], values_of_fields: dict[str, Any]) -> Message:
    message = made()
    for name, value in values_of_fields.items():
        # Out of the range of the field's type.
        with contextlib.suppress(ValueError, TypeError, UnicodeEncodeError):
            message.MergeFrom(made(**{name: value}))
    return message


@pytest.fixture(scope="module")
def fuzzing_team(serve: ServeProcess) -> Iterator[Team]:
    """A team of its own: it may revoke all tokens of its workspace, and other tests need theirs."""
    make_workspace(serve, "team-that-fuzzes")
    yield from team_of(serve, "team-that-fuzzes")


@pytest.fixture(scope="module")
def fuzz(serve: ServeProcess, a: Team, fuzzing_team: Team) -> Iterator[Fuzz]:
    # The names of the first may be in requests, and so in answers; of the second, only the ids.
    plain, hidden = make_things(a, text=MARK), make_things(a, text=MARK, names=MARK)
    for things in (plain, hidden):
        metric = {"run_id": things.run_id, "key": "value", "value": MARKED_VALUE, "timestamp": 1}
        assert a.rest.post("runs/log-metric", metric).status == 200
    own = make_things(fuzzing_team)
    make_token(serve, name=f"token {MARK}", workspace=a.name)
    a.rest.send("DELETE", "registered-models/delete", {"name": make_things(a, names=MARK).model})
    ids_only = replace(hidden, experiment="", model="")
    team = Team(fuzzing_team.name, dict(fuzzing_team.tokens), fuzzing_team.rest)
    found = Fuzz(serve, team, (plain, ids_only, own, own, absent()))
    yield found
    assert serve.is_running


def run_examples(
    kind: str, fuzz: Fuzz, drawn: st.SearchStrategy[Any], example: Callable[[Any], None], *, short: int = SHORT_EXAMPLES
) -> None:
    """Runs many examples: a number that never differs, or for a time, with new seeds."""

    def given() -> Any:
        return hypothesis.given(drawn)(lambda one: example(one))

    checks = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
    # An example that failed is shown as it was: making it smaller would take minutes.
    phases = [hypothesis.Phase.generate]
    usual = hypothesis.settings(deadline=None, database=None, phases=phases, suppress_health_check=checks)
    if not FUZZ_SECONDS:
        hypothesis.settings(usual, max_examples=short, derandomize=True)(given())()
        return
    until, memory, begun = time.monotonic() + FUZZ_SECONDS / len(KINDS), 0, fuzz.sent
    while time.monotonic() < until:
        seed = SEED or random.randrange(2**32)
        print(f"{kind}: FUZZ_SEED={seed}, {fuzz.sent - begun:,} sent, {fuzz.serve.memory_bytes >> 20} MiB")
        hypothesis.seed(seed)(hypothesis.settings(usual, max_examples=1_000)(given()))()
        memory = memory or fuzz.serve.memory_bytes
    print(f"{kind}: {fuzz.sent - begun:,} sent, {fuzz.serve.memory_bytes >> 20} MiB")
    assert fuzz.serve.memory_bytes < memory + GROWTH_BYTES


KINDS = ("rpcs", "bytes over gRPC", "routes", "requests as bytes")


def check_no_secret(*parts: bytes | str) -> None:
    """Checks that an answer contains nothing of the other workspace."""
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        for secret in (MARK.encode(), str(MARKED_VALUE).encode(), struct.pack("<d", MARKED_VALUE)):
            assert secret not in data


# -- gRPC ------------------------------------------------------------------------------------------------------------


def test_no_message_of_an_rpc_leads_astray(fuzz: Fuzz, channel: grpc.Channel) -> None:
    calls = {
        method.full_name: st.tuples(
            st.just(method),
            st.lists(fuzz.message(method.input_type), min_size=1, max_size=4 if method.client_streaming else 1),
            fuzz.tokens,
            fuzz.metadata,
        )
        for method in METHODS
    }

    def example(call: Any) -> None:
        method, messages, drawn, metadata = call
        _check_rpc(fuzz, channel, method, [one.SerializeToString() for one in messages], drawn, metadata)

    run_examples("rpcs", fuzz, st.sampled_from(sorted(calls)).flatmap(lambda name: calls[name]), example)


def test_no_bytes_over_grpc_lead_astray(fuzz: Fuzz, channel: grpc.Channel) -> None:
    changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 2), st.binary(max_size=4)), max_size=3)
    calls = {
        method.full_name: st.tuples(st.just(method), fuzz.message(method.input_type), changes, fuzz.tokens)
        for method in METHODS
    }

    def example(call: Any) -> None:
        method, message, changed, drawn = call
        content = bytearray(message.SerializeToString())
        for place, length, part in changed:
            at = place % (len(content) + 1)
            content[at : at + length] = part
        _check_rpc(fuzz, channel, method, [bytes(content)], drawn, ())

    run_examples("bytes over gRPC", fuzz, st.sampled_from(sorted(calls)).flatmap(lambda name: calls[name]), example)


def _check_rpc(
    fuzz: Fuzz,
    channel: grpc.Channel,
    method: MethodDescriptor,
    messages: list[bytes],
    drawn: str,
    metadata: tuple[tuple[str, str], ...],
) -> None:
    name = f"/{method.containing_service.full_name}/{method.name}"
    sent = [*metadata, ("authorization", f"Bearer {fuzz.token(drawn)}")]
    status, parts = "OK", []
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, True): channel.stream_stream,
    }
    stub = kinds[method.client_streaming, method.server_streaming](name)
    # A tail of a run lasts; all else is answered at once.
    timeout = 0.1 if method.name == "Tail" else 20
    try:
        answer = stub(iter(messages) if method.client_streaming else messages[0], metadata=sent, timeout=timeout)
        parts = list(answer) if method.server_streaming else [answer]
    except grpc.RpcError as error:
        status, parts = error.code().name, [error.details() or "", str(error.trailing_metadata())]
    assert status not in OURS or "LEDGER_BEHIND" in str(parts), (status, parts)
    assert status != "DEADLINE_EXCEEDED" or method.name == "Tail"
    check_no_secret(*parts)
    fuzz.note(refused=status == "UNAUTHENTICATED", drawn=drawn)


# -- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rest(serve: ServeProcess) -> Iterator[Rest]:
    with contextlib.closing(Rest(serve.http_url)) as opened:
        yield opened


def test_no_request_of_a_route_leads_astray(fuzz: Fuzz, rest: Rest) -> None:
    values = _values(fuzz)
    requests = {f"{entry.method} {entry.path}": _requests(entry, fuzz, values) for entry in ROUTES}

    def example(drawn_request: Any) -> None:
        path, method, things, request, changes, body, drawn, headers = drawn_request
        fields_sent = {**things.fill(request), **changes}
        for name in re.findall(r"{(\w+)", path):
            in_path = quote(str(fields_sent.get(name, "x"))[:2_000], safe="/%", errors="surrogatepass")
            path = re.sub(rf"{{{name}(:path)?}}", in_path.replace("\\", "%5c"), path)
        content = json.dumps(fields_sent).encode() if body is None else body
        if method in ("GET", "HEAD") or "upload-artifact" in path:
            texts = {name: str(value)[:2_000] for name, value in fields_sent.items()}
            path += f"?{urlencode(texts, errors='surrogatepass')}"
        known = {"authorization": f"Bearer {fuzz.token(drawn)}", "content-type": "application/json", **dict(headers)}
        answer = rest.request(method, path, None if method in ("GET", "HEAD") else content, known)
        is_not_implemented = answer.status == 501 and (b"NOT_IMPLEMENTED" in answer.content or method == "HEAD")
        is_fine = answer.status < 500 or is_not_implemented
        assert is_fine, (method, path, content[:1_000], answer)
        check_no_secret(answer.content, str(answer.headers))
        fuzz.note(refused=answer.status == 401, drawn=drawn)

    run_examples("routes", fuzz, st.sampled_from(sorted(requests)).flatmap(lambda name: requests[name]), example)


def _requests(entry: Entry, fuzz: Fuzz, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Requests of a route in which up to two fields have another value, or the body is something else."""
    names = {name for request in requests_of(key_of(entry)) for name in request} | {"page_token", "filter", "x"}
    if not isinstance(entry, RawRoute):
        names |= {one.name for one in fields(entry.message)}
    return st.tuples(
        st.sampled_from(paths_of(entry)),
        st.sampled_from((*[entry.method] * 6, "HEAD", "OPTIONS", "POST", "GET", "PATCH")),
        st.sampled_from(fuzz.named),
        st.sampled_from(requests_of(key_of(entry))),
        st.dictionaries(st.sampled_from(sorted(names)), values, max_size=2),
        st.one_of(st.none(), st.none(), st.none(), st.binary(max_size=50)),
        fuzz.tokens,
        fuzz.metadata,
    )


def _values(fuzz: Fuzz) -> st.SearchStrategy[Any]:
    """Values for the place of a field."""
    leaves = st.one_of(fuzz.texts, fuzz.texts, st.sampled_from(EDGES), st.floats(), st.booleans(), st.none())
    names = ("key", "value", "run_id", "model_id", "dataset", "name", "digest", "step", "timestamp", "tags")
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names), inner, max_size=3),
        max_leaves=6,
    )


def test_no_bytes_on_the_http_port_lead_astray(fuzz: Fuzz) -> None:
    """Each request is followed by the end of the connection, so that the service has nothing to wait for."""
    address = urlsplit(fuzz.serve.http_url)
    paths = [path for entry in ROUTES for path in paths_of(entry) if "{" not in path]

    drawn_parts = st.tuples(
        st.sampled_from(("GET", "POST", "PUT", "X")),
        st.sampled_from(paths),
        st.sampled_from(fuzz.named),
        st.sampled_from("0112"),
        fuzz.tokens,
        st.lists(_HEADERS, max_size=3),
        st.binary(max_size=30),
        st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=1)), max_size=2),
    )

    def example(parts: Any) -> None:
        method, path, things, version, drawn, headers, body, changes = parts
        lines = [
            f"{method} {path}?run_id={things.run_id} HTTP/1.{version}".encode(),
            b"host: localhost",
            b"authorization: Bearer " + fuzz.token(drawn).encode(),
            *headers,
        ]
        request = bytearray(b"\r\n".join([*lines, b"", body]))
        for place, byte in changes:
            at = place % len(request)
            request[at:at] = byte
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            connection.sendall(bytes(request))
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        status = answer.partition(b" ")[2][:1]
        assert status != b"5" or b"NOT_IMPLEMENTED" in answer, (bytes(request), answer)
        check_no_secret(answer)
        fuzz.note(refused=False, drawn=drawn)

    run_examples("requests as bytes", fuzz, drawn_parts, example)


_HEADERS = st.one_of(
    st.sampled_from(
        (
            b"transfer-encoding: chunked",
            b"content-length: 10",
            b"content-length: -1",
            b"content-length: 99999999999999999999",
            b"expect: 100-continue",
            b"x-forwarded-for: 127.0.0.1",
            b"x-forwarded-host: evil.example",
            b"x-forwarded-prefix: /admin",
            b"x-mlflow-workspace: team-a",
            b"authorization: Basic YWRtaW46YWRtaW4=",
            b"cookie: session=x",
            b"upgrade: h2c",
            b"range: bytes=0-",
            b"content-encoding: gzip",
            b"accept-encoding: gzip",
        )
    ),
    st.binary(max_size=30),
)
