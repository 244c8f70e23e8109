"""Tokens of a Kubernetes cluster and of an OpenID Connect provider instead of our own, over gRPC and over HTTP."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from runstream.v1 import access_pb2, access_pb2_grpc, ingest_pb2, ingest_pb2_grpc, run_pb2, run_pb2_grpc
from tests.support import preloaded
from tests.support.access import AUTH, make_workspace
from tests.support.databases import short_directory
from tests.support.issuer import CLIENT_ID, LocalIssuer
from tests.support.polling import until_now
from tests.support.rest import Rest
from tests.support.serve import COMMAND, ServeProcess, command_environment

PUBLIC_URL = ("--public-url", "https://runs.example.org")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalIssuer]:
    with LocalIssuer() as running:
        yield running


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalIssuer]:
    with LocalIssuer() as running:
        yield running


@pytest.fixture(scope="module")
def serve(
    cluster: LocalIssuer, provider: LocalIssuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    secret = tmp_path_factory.mktemp("secret") / "secret"
    secret.write_text("hidden\n")
    settings = {
        "kubernetes-issuer": cluster.url,
        "kubernetes-jwks-url": f"{cluster.url}/openid/v1/jwks",
        "kubernetes-grants": "ml-team=team-a:write,*=*:read,platform=*:admin",
        "oidc-issuer": provider.url,
        "oidc-client-id": CLIENT_ID,
        "oidc-client-secret-file": str(secret),
        "oidc-grants": "speech=team-a:read,speech=team-b:write",
    }
    given = [part for name, value in settings.items() for part in (f"--{name}", value)]
    with (
        short_directory() as directory,
        ServeProcess(directory / "data", arguments=(*AUTH, *PUBLIC_URL, *given)) as running,
    ):
        for name in ("team-a", "team-b"):
            make_workspace(running, name)
        yield running


@pytest.fixture(scope="module")
def channel(serve: ServeProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(serve.grpc_address) as opened:
        yield opened


def who_am_i(channel: grpc.Channel, token: str, workspace: str = "") -> tuple[str, str, str]:
    metadata = [("authorization", f"Bearer {token}"), *([("x-mlflow-workspace", workspace)] if workspace else [])]
    stub = access_pb2_grpc.AccessServiceStub(channel)
    answer = stub.WhoAmI(access_pb2.WhoAmIRequest(), metadata=metadata, timeout=60)
    return answer.principal, answer.workspace, access_pb2.Role.Name(answer.role)


def refusal(channel: grpc.Channel, token: str, workspace: str = "") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        who_am_i(channel, token, workspace)
    return raised.value.code(), raised.value.details() or ""


def test_a_pod_is_who_its_service_account_says_and_works_where_its_namespace_may(
    cluster: LocalIssuer, channel: grpc.Channel
) -> None:
    name = "system:serviceaccount:ml-team:trainer"
    assert who_am_i(channel, cluster.pod_token("ml-team", "trainer"), "team-a") == (name, "team-a", "ROLE_WRITE")
    assert who_am_i(channel, cluster.pod_token("team-b"))[1:] == ("team-b", "ROLE_READ")
    assert who_am_i(channel, cluster.pod_token("platform"), "team-b")[1:] == ("team-b", "ROLE_ADMIN")
    code, message = refusal(channel, cluster.pod_token("ml-team"), "team-b")
    assert (code, message.startswith("no workspace 'team-b'")) == (grpc.StatusCode.NOT_FOUND, True)


def test_mlflow_with_a_pods_token_and_its_namespace_as_workspace(serve: ServeProcess, cluster: LocalIssuer) -> None:
    headers = {"authorization": f"Bearer {cluster.pod_token('team-b')}", "x-mlflow-workspace": "team-b"}
    with contextlib.closing(Rest(serve.http_url)) as rest:
        answer = rest.request("GET", "experiments/search?max_results=5", headers=headers)
        assert [one["name"] for one in answer.body["experiments"]] == ["Default"]
        refused = rest.request("POST", "experiments/create", b'{"name": "x"}', headers=headers)
        assert refused.error[:2] == (403, "PERMISSION_DENIED")


def test_a_token_for_others_or_of_others_or_of_another_time_is_refused_with_the_reason(
    cluster: LocalIssuer, provider: LocalIssuer, channel: grpc.Channel
) -> None:
    now = int(time.time())
    for token, said in (
        (cluster.pod_token("ml-team", audience="https://kubernetes.default.svc"), "ask for one with the audience"),
        (cluster.pod_token("ml-team", exp=now - 100), "expired 10"),
        (cluster.pod_token("ml-team", nbf=now + 100), " s: the clock of this service is behind"),
        (provider.pod_token("ml-team", iss=cluster.url), "does not have; ask for a new token"),
        (cluster.pod_token("ml-team", iss="https://other.example"), "is not trusted here"),
        (cluster.token(aud="runstream", sub="system:node:a"), "is not a service account"),
    ):
        code, message = refusal(channel, token)
        assert (code, said in message) == (grpc.StatusCode.UNAUTHENTICATED, True), message
        assert token not in message


def test_a_token_of_the_provider_is_a_bearer_token_whose_owner_chooses_among_their_workspaces(
    provider: LocalIssuer, channel: grpc.Channel
) -> None:
    token = provider.token(aud=CLIENT_ID, sub="1", email="ada@example.org", groups=["speech"])
    assert who_am_i(channel, token, "team-b") == ("ada@example.org", "team-b", "ROLE_WRITE")
    assert who_am_i(channel, token, "team-a")[1:] == ("team-a", "ROLE_READ")
    code, message = refusal(channel, token)
    assert (code, "team-a, team-b" in message) == (grpc.StatusCode.NOT_FOUND, True)
    code, message = refusal(channel, provider.token(aud=CLIENT_ID, sub="1", groups=["others"]))
    assert (code, "none of your groups" in message) == (grpc.StatusCode.PERMISSION_DENIED, True)


def test_a_stream_ends_when_its_token_expires(cluster: LocalIssuer, channel: grpc.Channel) -> None:
    # The leeway keeps it valid for calls that begin; a stream that has begun ends on time.
    writer = cluster.pod_token("ml-team", exp=int(time.time()) + 3)
    metadata = [("authorization", f"Bearer {writer}"), ("x-mlflow-workspace", "team-a")]
    request = run_pb2.CreateRunRequest(experiment="digits")
    run_id = run_pb2_grpc.RunServiceStub(channel).CreateRun(request, metadata=metadata, timeout=60).run.run_id
    done = threading.Event()

    def first_requests() -> Iterator[ingest_pb2.AppendRequest]:
        yield ingest_pb2.AppendRequest(open=ingest_pb2.Open(run_id=run_id, producer_id=bytes(range(16))))
        done.wait(60)

    append = ingest_pb2_grpc.IngestServiceStub(channel).Append(first_requests(), metadata=metadata)
    try:
        assert next(append).HasField("opened")
        with pytest.raises(grpc.RpcError) as raised:
            for _ in append:
                pass
    finally:
        done.set()
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "have expired" in (raised.value.details() or "")


def test_keys_that_are_rotated_are_fetched_and_old_tokens_end(cluster: LocalIssuer, channel: grpc.Channel) -> None:
    old = cluster.pod_token("team-b")
    cluster.rotate(kind="EC")
    # Made-up key ids must not cause a fetch each, so keys are fetched again at most every ten seconds.
    until_now(lambda: _is_known(channel, cluster.pod_token("team-b")))
    assert refusal(channel, old)[0] is grpc.StatusCode.UNAUTHENTICATED


def _is_known(channel: grpc.Channel, token: str) -> bool:
    try:
        return who_am_i(channel, token)[1] == "team-b"
    except grpc.RpcError:
        return False


HALF = {
    "nobody is asked": (("--kubernetes-issuer", "https://a.example", "--kubernetes-grants", "*=*:read"), "--auth"),
    "no client": ((*AUTH, *PUBLIC_URL, "--oidc-issuer", "https://a.example"), "--oidc-client-id"),
    "no url": ((*AUTH, "--oidc-issuer", "https://a.example"), "--public-url"),
    "no secret": (
        (*AUTH, *PUBLIC_URL, "--oidc-issuer", "https://a.example", "--oidc-client-id", "x"),
        "--oidc-client-secret-file",
    ),
    "no issuer": ((*AUTH, "--oidc-client-id", "x"), "--oidc-issuer"),
    "no grants": ((*AUTH, "--kubernetes-issuer", "https://a.example"), "--kubernetes-grants"),
    "no cluster": ((*AUTH, "--kubernetes-grants", "*=*:read"), "--kubernetes-issuer"),
    "plain http": ((*AUTH, "--kubernetes-issuer", "http://a.example"), "--kubernetes-issuer"),
}


@pytest.mark.parametrize("case", HALF)
def test_half_a_configuration_refuses_to_start_and_names_what_is_missing(case: str, tmp_path: Path) -> None:
    given, named = HALF[case]
    done = preloaded.run([*COMMAND, "serve", "--data-dir", str(tmp_path), *given], command_environment())
    assert (done.returncode, done.stderr.startswith(f"runstream: {named} (")) == (2, True), done.stderr
    assert not list(tmp_path.iterdir())
