"""A service that asks for tokens, from outside: over gRPC, over HTTP, and with the commands of an operator."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import grpc
import pytest

from runstream.v1 import (
    access_pb2,
    access_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
)
from tests.support import preloaded
from tests.support.access import AUTH, as_operator, make_token, make_workspace
from tests.support.databases import short_directory
from tests.support.rest import Rest
from tests.support.serve import COMMAND, ServeProcess, command_environment

# Five seconds are promised.
REVOKED_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def serve() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory / "data", arguments=AUTH) as running:
        make_workspace(running, "team-a")
        make_workspace(running, "team-b")
        yield running


@pytest.fixture(scope="module")
def channel(serve: ServeProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(serve.grpc_address) as opened:
        yield opened


def bearer(token: str, workspace: str = "") -> list[tuple[str, str]]:
    chosen = [("x-mlflow-workspace", workspace)] if workspace else []
    return [("authorization", f"Bearer {token}"), *chosen]


def who_am_i(channel: grpc.Channel, token: str, workspace: str = "") -> access_pb2.WhoAmIResponse:
    stub = access_pb2_grpc.AccessServiceStub(channel)
    answer: access_pb2.WhoAmIResponse = stub.WhoAmI(
        access_pb2.WhoAmIRequest(), metadata=bearer(token, workspace), timeout=10
    )
    return answer


def create_run(channel: grpc.Channel, token: str, experiment: str = "digits") -> str:
    request = run_pb2.CreateRunRequest(experiment=experiment)
    return str(run_pb2_grpc.RunServiceStub(channel).CreateRun(request, metadata=bearer(token), timeout=60).run.run_id)


def refusal(call: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()  # type: ignore[operator]
    return raised.value.code(), raised.value.details() or ""


def test_a_call_without_a_token_is_asked_for_one(channel: grpc.Channel) -> None:
    code, message = refusal(
        lambda: access_pb2_grpc.AccessServiceStub(channel).WhoAmI(access_pb2.WhoAmIRequest(), timeout=60)
    )
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert "RUNSTREAM_TOKEN" in message


def test_a_token_says_who_calls_where_and_with_which_role(serve: ServeProcess, channel: grpc.Channel) -> None:
    token = make_token(serve, name="ci", workspace="team-a")
    answer = who_am_i(channel, token)
    assert (answer.principal, answer.workspace, answer.role) == ("ci", "team-a", access_pb2.ROLE_WRITE)
    assert answer.authentication


def test_the_commands_of_an_operator_create_list_and_revoke(serve: ServeProcess, channel: grpc.Channel) -> None:
    as_operator(serve, "workspace", "create", "team-c", "--description", "the third")
    listed = [json.loads(line) for line in as_operator(serve, "workspace", "list", "--json").splitlines()]
    assert ("team-c", "the third") in [(one["name"], one["description"]) for one in listed]
    token = as_operator(serve, "token", "create", "--workspace", "team-c", "--name", "ci", "--expires", "30d").strip()
    assert who_am_i(channel, token).workspace == "team-c"
    uri = as_operator(
        serve, "tracking-uri", "--workspace", "team-c", "--expires", "1h", "--http", f"{serve.http_url}/"
    ).strip()
    assert uri.startswith("http://token:rst_")
    assert uri.endswith(serve.http_url.removeprefix("http://"))


def test_an_admin_chooses_a_workspace_and_works_in_the_default_one_otherwise(
    serve: ServeProcess, channel: grpc.Channel
) -> None:
    token = make_token(serve, name="root", role="admin")
    assert who_am_i(channel, token).workspace == "default"
    assert who_am_i(channel, token, "team-b").workspace == "team-b"


@pytest.mark.parametrize("asked", ["team-b", "no-such-team", "purged"])
def test_a_workspace_of_others_looks_like_one_that_does_not_exist(
    asked: str, serve: ServeProcess, channel: grpc.Channel
) -> None:
    token = make_token(serve, name=f"nosy {asked}", workspace="team-a")
    code, message = refusal(lambda: who_am_i(channel, token, asked))
    assert code is grpc.StatusCode.NOT_FOUND
    assert message.startswith(f"no workspace {asked!r} for this token")


def test_mistyped_unknown_and_foreign_tokens_are_distinguished_without_their_text(
    serve: ServeProcess, channel: grpc.Channel
) -> None:
    token = make_token(serve, name="typo", workspace="team-a")
    mistyped = token[:-1] + ("0" if token[-1] != "0" else "1")
    for given, said in ((mistyped, "mistyped or cut off"), ("ghp_abc", "begins with rst_")):
        code, message = refusal(lambda given=given: who_am_i(channel, given))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert said in message
        assert given not in message


def test_runs_of_another_workspace_do_not_exist(serve: ServeProcess, channel: grpc.Channel) -> None:
    a, b = (make_token(serve, name="runs", workspace=f"team-{team}") for team in "ab")
    run_id = create_run(channel, a)
    runs = run_pb2_grpc.RunServiceStub(channel)
    assert runs.GetRun(run_pb2.GetRunRequest(run_id=run_id), metadata=bearer(a), timeout=60).run.run_id == run_id
    theirs = refusal(lambda: runs.GetRun(run_pb2.GetRunRequest(run_id=run_id), metadata=bearer(b), timeout=60))
    absent = refusal(lambda: runs.GetRun(run_pb2.GetRunRequest(run_id="0" * 32), metadata=bearer(b), timeout=60))
    assert theirs == (absent[0], absent[1].replace("0" * 32, run_id))


def test_a_role_that_is_too_low_is_refused_with_what_is_needed(serve: ServeProcess, channel: grpc.Channel) -> None:
    token = make_token(serve, name="reader", role="read", workspace="team-a")
    code, message = refusal(lambda: create_run(channel, token))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert message.startswith("this needs the role write in workspace 'team-a'; reader has read")


def test_mlflow_over_http_takes_bearer_and_basic_and_refuses_the_rest(serve: ServeProcess) -> None:
    token = make_token(serve, name="mlflow", workspace="team-b")
    basic = base64.b64encode(f"anybody:{token}".encode()).decode()
    with contextlib.closing(Rest(serve.http_url)) as rest:
        for authorization in (f"Bearer {token}", f"Basic {basic}"):
            answer = rest.request("GET", "experiments/search?max_results=5", headers={"authorization": authorization})
            assert [one["name"] for one in answer.body["experiments"]] == ["Default"]
        assert rest.get("experiments/search", {"max_results": 5}).error[:2] == (401, "UNAUTHENTICATED")


def test_a_revoked_token_ends_within_five_seconds_also_for_open_streams(
    serve: ServeProcess, channel: grpc.Channel
) -> None:
    token = make_token(serve, name="to be revoked", workspace="team-a")
    run_id = create_run(channel, token)
    done = threading.Event()

    def first_requests() -> Iterator[ingest_pb2.AppendRequest]:
        yield ingest_pb2.AppendRequest(open=ingest_pb2.Open(run_id=run_id, producer_id=bytes(range(16))))
        done.wait(60)

    append = ingest_pb2_grpc.IngestServiceStub(channel).Append(first_requests(), metadata=bearer(token))
    assert next(append).HasField("opened")
    tail = query_pb2_grpc.QueryServiceStub(channel).Tail(query_pb2.TailRequest(run_id=run_id), metadata=bearer(token))
    (found,) = (
        one
        for one in map(json.loads, as_operator(serve, "token", "list", "--all", "--json").splitlines())
        if one["name"] == "to be revoked"
    )
    as_operator(serve, "token", "revoke", str(found["id"]))
    try:
        for stream in (append, tail):
            with pytest.raises(grpc.RpcError) as raised:
                for _ in stream:
                    pass
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert (raised.value.details() or "").startswith("the token 'to be revoked' was revoked on")
    finally:
        done.set()
    code, _ = refusal(lambda: who_am_i(channel, token))
    assert code is grpc.StatusCode.UNAUTHENTICATED


def test_an_expired_token_is_named(serve: ServeProcess, channel: grpc.Channel) -> None:
    token = make_token(serve, name="short", workspace="team-a", expires_in_s=1.0)
    code = None
    for _ in range(200):
        try:
            who_am_i(channel, token)
        except grpc.RpcError as error:
            code, message = error.code(), error.details() or ""
            break
        threading.Event().wait(0.05)
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert message.startswith("the token 'short' expired on")


def test_what_was_done_with_tokens_can_be_read(serve: ServeProcess) -> None:
    make_token(serve, name="audited", workspace="team-b")
    events = [json.loads(line) for line in as_operator(serve, "audit", "--workspace", "team-b", "--json").splitlines()]
    assert any(one["action"] == "token_created" and one["subject"] == "audited" for one in events)
    assert events[-1]["action"] == "workspace_created"


def test_no_secret_is_in_the_log_or_the_database(serve: ServeProcess, channel: grpc.Channel) -> None:
    token = make_token(serve, name="secret", workspace="team-a")
    who_am_i(channel, token)
    assert token not in serve.stderr
    rows = asyncio.run(rows_as_text(serve.database_url, "tokens", "audit_events"))
    assert "secret" in rows
    assert token.removeprefix("rst_") not in rows


async def rows_as_text(database_url: str, *tables: str) -> str:
    connection = await asyncpg.connect(database_url)
    try:
        return "\n".join(
            [str(row[0]) for table in tables for row in await connection.fetch(f"SELECT t::text FROM {table} t")]
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("flag", ["--grpc-listen", "--http-listen"])
def test_listening_beyond_this_machine_without_authentication_is_refused_with_two_ways_on(
    flag: str, tmp_path: Path
) -> None:
    done = preloaded.run([*COMMAND, "serve", "--data-dir", str(tmp_path), flag, "0.0.0.0:0"], command_environment())
    assert done.returncode == 2
    assert "--auth on" in done.stderr
    assert "--allow-anonymous" in done.stderr
    assert not list(tmp_path.iterdir())
