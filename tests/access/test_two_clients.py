"""Several clients in one process, each with a token and a workspace of its own."""

from __future__ import annotations

import threading
import uuid

import pytest

import runstream
from tests.access.conftest import Team
from tests.support.serve import ServeProcess


def test_clients_of_two_workspaces_work_side_by_side_in_one_process(
    serve: ServeProcess, a: Team, b: Team, admin: str
) -> None:
    name = f"side by side {uuid.uuid4().hex}"
    of_a, of_b = (runstream.Client(serve.grpc_address, token=team.token) for team in (a, b))
    runs = {}
    for team, value in ((a, 1.0), (b, 2.0)):
        with runstream.start_run(name, address=serve.grpc_address, token=team.token) as run:
            run.log({"loss": value}, step=0)
            assert run.flush(120), run.stats()
        runs[team.name] = run.run_id
    assert [of_a.who_am_i().workspace, of_b.who_am_i().workspace] == [a.name, b.name]
    assert [run.run_id for run in of_a.list_runs(name)] == [runs[a.name]]
    assert [run.run_id for run in of_b.list_runs(name)] == [runs[b.name]]
    with pytest.raises(runstream.NotFound):
        of_b.history(runs[a.name], "loss")
    of_a.close()
    assert list(of_b.history(runs[b.name], "loss").values) == [2.0]
    assert list(of_a.history(runs[a.name], "loss").values) == [1.0], "it opens its connection again"


def test_one_token_for_all_workspaces_reads_each_through_a_client_of_its_own(
    serve: ServeProcess, a: Team, b: Team, admin: str
) -> None:
    clients = [runstream.Client(serve.grpc_address, token=admin, workspace=team.name) for team in (a, b)]
    seen: list[list[str]] = [[], []]

    def ask(number: int) -> None:
        for _ in range(50):
            seen[number].append(clients[number].who_am_i().workspace)

    threads = [threading.Thread(target=ask, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert seen == [[a.name] * 50, [b.name] * 50]
