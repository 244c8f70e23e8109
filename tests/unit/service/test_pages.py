"""Page tokens: a token that a caller has changed is accepted as a token, or clearly refused."""

from __future__ import annotations

import base64
import contextlib
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.core.pages import check_page_size, make_token, read_token
from runstream_service.errors.core import InvalidField


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.text())
def test_token_gives_back_what_went_in(number: int, text: str) -> None:
    token = make_token(of="list", after=[number, text])
    assert token.isascii()
    assert read_token(token, of="list", shape=(int, str)) == [number, text]


@given(st.text())
def test_no_text_is_worse_than_refused(text: str) -> None:
    with contextlib.suppress(InvalidField):
        assert read_token(text, of="list", shape=(int,)) is None


@pytest.mark.parametrize(
    "content",
    [
        [],
        ["list"],
        ["list", "1"],
        ["list", True],
        ["list", 2**70],
        ["list", 1, 2],
        ["other", 1],
        5,
        None,
        {"a": 1},
        "x",
    ],
)
def test_well_formed_token_of_wrong_content_is_refused(content: Any) -> None:
    payload = json.dumps(content).encode()
    token = base64.urlsafe_b64encode(zlib.crc32(payload).to_bytes(4, "big") + payload).decode()
    with pytest.raises(InvalidField) as caught:
        read_token(token, of="list", shape=(int,))
    assert caught.value.field == "page_token"


def test_page_size_zero_means_a_hundred() -> None:
    assert [check_page_size(size) for size in (0, 1, 1000)] == [100, 1, 1000]
