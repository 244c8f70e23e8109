"""The table of MLflow's routes is checked when the service starts."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response

from runstream_service.core.caller import Role
from runstream_service.mlflow.graphql import GraphQL
from runstream_service.mlflow.route_kinds import RawRoute
from runstream_service.mlflow.routes import check_distinct


async def handler(_request: Request) -> Response:
    return Response()


def test_a_route_that_is_in_the_table_twice_is_an_error_at_the_start() -> None:
    one = RawRoute("GET", "2.0/mlflow/runs/get", Role.READ, handler)
    check_distinct([one, RawRoute("POST", one.path, Role.READ, handler)])
    with pytest.raises(ValueError, match=r"more than once: GET 2\.0/mlflow/runs/get"):
        check_distinct([one, one])


def test_graphql_without_its_routes_is_an_error_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"2\.0/mlflow/experiments/get in the table of routes, which has 0"):
        GraphQL([])
