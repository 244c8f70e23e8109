from __future__ import annotations

import pytest

from runstream.mlflow.address import Address, is_runstream, of_http_uri, of_runstream_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("runstream://tracker:50051", Address("tracker:50051", "http://tracker:5000")),
        ("runstream://tracker", Address("tracker:50051", "http://tracker:5000")),
        ("runstream://tracker:6000/", Address("tracker:6000", "http://tracker:5000")),
        ("runstream://[::1]:6000", Address("[::1]:6000", "http://[::1]:5000")),
        ("runstream://tracker:1?http=web:80", Address("tracker:1", "http://web:80")),
        ("runstream://tracker:1?http=https://web/mlflow/", Address("tracker:1", "https://web/mlflow")),
    ],
)
def test_a_tracking_uri_has_both_addresses(uri: str, expected: Address) -> None:
    assert of_runstream_uri(uri, {}) == expected


def test_the_environment_gives_the_address_over_http_and_the_uri_overrides_it() -> None:
    environ = {"RUNSTREAM_MLFLOW_HTTP_ADDRESS": "web:80"}
    assert of_runstream_uri("runstream://tracker", environ).http_url == "http://web:80"
    assert of_runstream_uri("runstream://tracker?http=other:81", environ).http_url == "http://other:81"


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("runstream://", "has no host"),
        ("runstream://:50051", "has no host"),
        ("runstream://host:99999", "port"),
        ("runstream://host:x", "port"),
        ("runstream://host/path", "may follow host and port"),
        ("runstream://host?https=x", "unknown parameter 'https'"),
        ("runstream://host?http=ftp://x", "expected host:port"),
        ("runstream://user:secret@host", "must not contain a password"),
    ],
)
def test_a_wrong_tracking_uri_is_refused_with_what_is_wrong(uri: str, what: str) -> None:
    with pytest.raises(ValueError, match=what.replace("?", r"\?")) as refused:
        of_runstream_uri(uri, {})
    assert "secret" not in str(refused.value)


def test_the_grpc_address_of_an_http_uri_is_at_the_same_host_or_in_the_environment() -> None:
    assert of_http_uri("https://web:443/x/", {}) == Address("grpcs://web:50051", "https://web:443/x")
    assert of_http_uri("http://web:5000", {"RUNSTREAM_ADDRESS": "grpc:1"}).grpc == "grpc:1"
    assert of_http_uri("http://me:secret@web", {}) == Address("web:50051", "http://me:secret@web")


def test_only_uris_with_the_scheme_of_runstream_are_accepted() -> None:
    assert is_runstream("RunStream://x")
    assert is_runstream("runstreams://x")
    assert not any(map(is_runstream, (None, "", "http://x", "runstreamer://x")))
