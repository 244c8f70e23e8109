"""The most expensive requests of each kind over HTTP, while a stream gets acknowledgements and probes get answers."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from runstream_bench.http_client import Answer
from tests.support.databases import short_directory
from tests.support.rest import Rest
from tests.support.serve import ServeProcess
from tests.support.watch import Watch

MIB = 1 << 20
# On a machine that other tests use, everybody sometimes waits for some tenths of a second, while a request that holds
# up others does so each time. So the best of some attempts counts, and the waits while nothing is requested are allowed
# on top. Alone on two processors, it is a tenth of a second.
LONGEST_S = 0.3
TRIES = 6


def check_delays(watch: Watch, work: Callable[[], object], *, longest_s: float = LONGEST_S) -> None:
    """Fails if acknowledgements or probes waited for too long each time that the work was done."""
    tries: list[tuple[float, float]] = []
    for _ in range(TRIES):
        begun = time.monotonic()
        busy = max(watch.during(work).values())
        rest = functools.partial(time.sleep, time.monotonic() - begun)
        tries.append((busy, 0.0 if busy <= longest_s else max(watch.during(rest).values())))
        if busy <= longest_s + tries[-1][1]:
            break
    print(tries)
    assert min(busy - idle for busy, idle in tries) <= longest_s, tries


@pytest.fixture(scope="module")
def service() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory) as serve:
        yield serve


@pytest.fixture(scope="module")
def run_id(service: ServeProcess) -> str:
    rest = Rest(service.http_url)
    created = rest.post("runs/create", {"experiment_id": "0"}).body["run"]["info"]["run_id"]
    rest.close()
    return str(created)


def filling(item: bytes, mebibytes: int) -> bytes:
    """As many items of a JSON array as fit into `mebibytes`."""
    return item + (b"," + item) * ((mebibytes * MIB - len(item)) // (len(item) + 1))


def search(**fields: object) -> Callable[[Rest, str], Answer]:
    return lambda rest, _: rest.post("runs/search", {"experiment_ids": ["0"], **fields})


def body(path: str, content: bytes) -> Callable[[Rest, str], Answer]:
    return lambda rest, run_id: rest.post(path, content.replace(b"RUN", run_id.encode()))


def graphql(query: str) -> Callable[[Rest, str], Answer]:
    return lambda rest, _: rest.post("/graphql", {"query": query})


def info_of(fields: str) -> Callable[[Rest, str], Answer]:
    # So long that its check is not kept for the next time.
    return graphql('{ mlflowGetRun(input:{runId:"a"}) { run { info { ' + fields + "} } } }" + " " * 8_000)


def ids(count: int) -> str:
    return ", ".join(f"'{number:032x}'" for number in range(count))


METRIC = b'{"key":"m","value":1,"timestamp":1,"step":1}'
# Made when they are sent: together they are 150 MB, and each worker of pytest imports this module.
HARD: dict[str, Callable[[], tuple[Callable[[Rest, str], Answer], int]]] = {
    "small lists": lambda: (body("runs/set-tag", b'{"tags":[' + filling(b"[[1]]", 24) + b"]}"), 400),
    "small objects": lambda: (body("runs/set-tag", b'{"tags":[' + filling(b'{"aB":1}', 24) + b"]}"), 400),
    "fields": lambda: (body("runs/set-tag", b'{"a":{' + filling(b'"":1', 24) + b"}}"), 400),
    "deep": lambda: (body("runs/set-tag", b'{"a":' + b"[" * MIB + b"]" * MIB + b"}"), 400),
    "nearly too many lists": lambda: (body("runs/set-tag", b'{"tags":[' + b"[1]," * 9_900 + b"1]}"), 400),
    "nearly too many numbers": lambda: (body("runs/search", b'{"experiment_ids":[' + b'"1",' * 49_000 + b'"1"]}'), 200),
    "a long tag": lambda: (
        body("runs/set-tag", b'{"run_id":"RUN","key":"k","value":"' + b"[{,\\\"" * 5 * MIB + b'"}'), 200,
    ),
    "a long key": lambda: (body("runs/set-tag", b'{"run_id":"RUN","key":"' + b"a/" * 8 * MIB + b'","value":""}'), 400),
    "a batch of all too many": lambda: (
        body("runs/log-batch", b'{"run_id":"RUN","metrics":[' + filling(METRIC, 24) + b"]}"), 400,
    ),
    "a batch of too many": lambda: (
        body("runs/log-batch", b'{"run_id":"RUN","metrics":[' + b",".join([METRIC] * 9_000) + b"]}"), 400,
    ),
    "a batch with lists": lambda: (
        body("runs/log-batch", b'{"run_id":"RUN","params":[' + b"[1]," * 60_000 + b"1]}"), 400,
    ),
    "comparisons": lambda: (search(filter=" AND ".join(["metrics.a < 1"] * 60_000)), 400),
    "comparisons in 64 KiB": lambda: (search(filter=" AND ".join(["metrics.a < 1"] * 3_000)), 400),
    "a list of ids": lambda: (search(filter=f"run_id IN ({ids(25_000)})"), 200),
    "a list of numbers": lambda: (search(filter="run_id IN (" + "1," * 400_000 + "1)"), 400),
    "orders": lambda: (search(order_by=["metrics.a"] * 40_000), 400),
    "a long order": lambda: (search(order_by=["metrics." + "a." * 400_000]), 400),
    "a page token": lambda: (search(page_token="A" * 4 * MIB), 400),
    "fields of GraphQL": lambda: (info_of("runId " * 980), 200),
    "fragments of GraphQL": lambda: (info_of("... on MlflowRunInfo { runId } " * 190), 200),
    "GraphQL of megabytes": lambda: (graphql("{ " + "a " * 4 * MIB + "}"), 400),
    "values of GraphQL": lambda: (
        body("/graphql", b'{"query":"{a}","variables":{"a":[' + filling(b"[1]", 8) + b"]}}"), 400,
    ),
    "a query of many fields": lambda: (lambda rest, _: rest.get("experiments/search?" + "a&" * 20_000), 400),
    "a long query": lambda: (lambda rest, _: rest.get("runs/get?run_id=" + "a" * 200_000), 431),
}  # fmt: skip


@pytest.fixture(scope="module")
def watch(service: ServeProcess, run_id: str) -> Iterator[Watch]:
    with Watch(service, run_id) as watching:
        yield watching


@pytest.mark.parametrize("name", HARD)
def test_no_request_holds_up_acknowledgements_and_liveness(
    name: str, service: ServeProcess, run_id: str, watch: Watch
) -> None:
    send, status = HARD[name]()
    answers: list[Answer] = []

    def ask() -> None:
        with contextlib.closing(Rest(service.http_url)) as rest:
            answers.append(send(rest, run_id))

    check_delays(watch, ask)
    assert {answer.status for answer in answers} == {status}, answers[0].content[:300]
    assert max(len(answer.content) for answer in answers) < 4_096


def test_long_answers_do_not_hold_it_up_either(service: ServeProcess, watch: Watch) -> None:
    rest = Rest(service.http_url)
    prefix = uuid.uuid4().hex
    for number in range(300):
        tags = [{"key": f"tag {at}", "value": "x" * 4_000} for at in range(10)]
        assert rest.post("experiments/create", {"name": f"{prefix} {number}", "tags": tags}).status == 200
    answers = []

    def ask() -> None:
        caller = Rest(service.http_url)
        content = json.dumps({"max_results": 1_000}).encode()
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
        answers.append(caller.request("POST", "experiments/search", content, headers))
        caller.close()

    def ask_all() -> None:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # They are packed in threads, and unpacked here: that alone keeps two processors busy.
    check_delays(watch, ask_all, longest_s=1.0)
    assert all(len(json.loads(gzip.decompress(answer.content))["experiments"]) >= 300 for answer in answers)
    rest.close()


def test_the_event_loop_says_how_late_it_was(service: ServeProcess) -> None:
    assert service.metric("runstream_event_loop_delay_seconds_count") > 10
