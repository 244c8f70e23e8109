"""No name leads out of the store."""

from __future__ import annotations

import posixpath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.artifacts.paths import MAX_NAME_BYTES, MAX_PATH_BYTES, check_path, path_of_uri
from runstream_service.errors.core import InvalidField

PIECES = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "%2e",
        "%2E%2e",
        "%252e",
        "/",
        "//",
        "%2f",
        "\\",
        "%5c",
        "C:",
        "file:",
        "%00",
        "%",
        "ü",
        "#",
        "~",
    ]
)


@given(st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join), st.booleans())
def test_whatever_is_accepted_stays_below_the_root(text: str, may_be_root: bool) -> None:
    try:
        path = check_path(text, may_be_root=may_be_root)
    except InvalidField:
        return
    assert posixpath.normpath(posixpath.join("/store", path)).startswith("/store/" if path else "/store")
    assert path == posixpath.normpath(path) or path == ""
    assert not {"..", ".", ""} & set(path.split("/")) or path == ""
    assert "\\" not in path
    assert "\0" not in path
    assert len(path.encode()) <= MAX_PATH_BYTES
    assert all(len(segment.encode()) <= MAX_NAME_BYTES for segment in path.split("/"))


@given(st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join))
def test_an_accepted_path_is_accepted_again_as_it_is(text: str) -> None:
    """What a listing shows is what a client asks for next, quoted or not."""
    try:
        path = check_path(text)
    except InvalidField:
        return
    assert check_path(path) == path
    assert check_path(quote(path)) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a/b.txt", "a/b.txt"),
        ("a//b/./c/", "a/b/c"),
        ("a%2Fb", "a/b"),
        ("100%", "100%"),
        ("line\nbreak", "line%0abreak"),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
    ],
)
def test_paths_are_normalised(text: str, path: str) -> None:
    # MLflow decodes the %0a in a listing and writes it again.
    assert check_path(text) == path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("mlflow-artifacts:/1/abc/artifacts", "1/abc/artifacts"),
        ("mlflow-artifacts://host:5000/1/abc", "1/abc"),
        ("mlflow-artifacts:/", ""),
        ("http://host/api/2.0/mlflow-artifacts/artifacts/1/abc", "1/abc"),
        ("http://host/elsewhere", None),
        ("s3://bucket/1", None),
        ("file:///srv", None),
        ("/srv/artifacts", None),
        ("relative", None),
    ],
)
def test_uris_of_this_store_are_distinguished_from_others(uri: str, path: str | None) -> None:
    assert path_of_uri(uri) == path


def test_a_uri_of_the_service_that_leads_outside_is_refused() -> None:
    for uri in ("mlflow-artifacts:/../secret", "mlflow-artifacts:/1/%2e%2e/%2e%2e/secret"):
        with pytest.raises(InvalidField):
            path_of_uri(uri)
