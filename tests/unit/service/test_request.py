"""Requests -> messages."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from runstream_service.mlflow.errors import MlflowError
from runstream_service.mlflow.request import MAX_QUERY_FIELDS, Message, read


class Untouched(Request):
    """Its query must not be taken apart."""

    @property
    def query_params(self):
        raise AssertionError("the query was taken apart")


async def test_a_query_of_too_many_fields_is_refused_before_it_is_taken_apart():
    scope = {"type": "http", "method": "GET", "query_string": b"a&" * (MAX_QUERY_FIELDS + 1), "headers": []}
    with pytest.raises(MlflowError, match="more than 1,000 fields"):
        await read(Untouched(scope), Message)
