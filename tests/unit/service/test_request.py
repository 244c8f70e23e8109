"""Requests are decoded into messages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from runstream_service.mlflow.endpoints import guarded
from runstream_service.mlflow.request import MAX_QUERY_FIELDS


async def test_a_query_of_too_many_fields_is_refused_before_any_route_takes_it_apart() -> None:
    def asked(fields: int) -> Request:
        return Request({"type": "http", "method": "GET", "query_string": b"a&" * fields, "headers": []})

    async def endpoint(request: Request) -> Response:
        return Response(str(len(request.query_params)))

    answer = guarded(endpoint)
    assert (await answer(asked(MAX_QUERY_FIELDS))).status_code == 200
    refused = await answer(asked(MAX_QUERY_FIELDS + 1))
    assert refused.status_code == 400
    assert b"more than 1,000 fields" in refused.body
