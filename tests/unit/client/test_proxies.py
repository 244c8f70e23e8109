"""A web proxy in the environment is not used, unless the user asks for it."""

from __future__ import annotations

import grpc
import pytest

import runstream
from tests.support.polling import until_now
from tests.unit.client.conftest import StartRun
from tests.unit.client.services import Service

NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_for_web_pages_does_not_divert_points_or_reads(
    service: Service,
    start_carried: StartRun,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    host: str,
) -> None:
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, NOBODY)
    address = f"{host}:{service.port}"
    run = start_carried("e", address=address)
    run.log({"loss": 1.0})
    assert run.flush(120), run.stats()
    assert run.finish()
    with runstream.Client(address) as client:
        assert client.get_run(run.run_id).status == "FINISHED"


def test_a_proxy_that_was_asked_for_is_used_and_named_when_it_fails(
    service: Service,
    start_carried: StartRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("no_proxy", "no_grpc_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", NOBODY)
    monkeypatch.setenv("RUNSTREAM_HTTP_PROXY", "1")
    run = start_carried("e", address=service.address)
    run.log({"loss": 1.0})
    until_now(lambda: run.stats().last_error)
    assert not run.finish(timeout=0.1)
    assert "through the proxy in $http_proxy (RUNSTREAM_HTTP_PROXY is set)" in caplog.text
    with (
        runstream.Client(service.address) as client,
        pytest.raises(runstream.Unavailable, match=r"in \$http_proxy") as caught,
    ):
        client.get_run(run.run_id)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE.name
    assert service.opens() == 0
