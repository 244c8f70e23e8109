"""`runstream serve` as operators and orchestrators see it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client.parser import text_string_to_metric_families

from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.rpc.health import LIVENESS
from tests.support import preloaded
from tests.support.databases import short_directory
from tests.support.serve import COMMAND, ServeProcess, command_environment

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ["", "runstream.v1.IngestService", "runstream.v1.RunService", "runstream.v1.QueryService"]
ANY_PORTS = ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]


def health_of(serve: ServeProcess, service: str = "") -> int:
    with grpc.insecure_channel(serve.grpc_address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60).status)


def refused(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Starts with settings that must be refused; returns exit code and stderr."""
    done = preloaded.run([*COMMAND, "serve", *arguments], command_environment(environment))
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def serve() -> Iterator[ServeProcess]:
    """Starts it from an empty directory, as users do first."""
    with short_directory() as directory, ServeProcess(directory / "data", fresh=True) as process:
        yield process


# -- ready -----------------------------------------------------------------------------------------------------------


def test_ready_line_names_both_addresses_and_they_answer(serve: ServeProcess) -> None:
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", serve.grpc_address)
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", serve.http_url)
    assert json.loads(serve.get("/healthz")[1])["status"] == "alive"
    assert serve.get("/readyz") == (200, '{"status":"ready"}')
    assert [health_of(serve, service) for service in SERVICES] == [SERVING] * 4


def test_pages_for_people_and_unknown_paths(serve: ServeProcess) -> None:
    status, page = serve.get("/about")
    assert (status, "It is <b>ready</b>" in page) == (200, True)
    assert serve.get("/version")[1].split(".")[0] == "3"  # MLflow's: its clients read it
    assert serve.get("/health") == (200, "OK")
    assert serve.get("/../../etc/passwd")[0] == 404


def test_metrics_parse_and_count_requests_by_route(serve: ServeProcess) -> None:
    serve.get("/readyz")
    serve.get("/no/such/path/1")
    serve.get("/no/such/path/2")
    families = {family.name: family for family in text_string_to_metric_families(serve.get("/metrics")[1])}
    routes = {sample.labels["route"] for sample in families["runstream_http_requests"].samples}
    assert {"/readyz", "unknown"} <= routes
    assert not any("such" in route for route in routes)
    assert families["runstream_database_up"].samples[0].value == 1
    assert families["runstream_build_info"].samples[0].labels["version"]


async def test_a_replica_has_five_connections_besides_those_of_pool_and_writers(serve: ServeProcess) -> None:
    """--pool-size, the chart and docs/sizing.md say six; operators add them up for max_connections. The sixth is for
    quiet workspaces, and is only made while others are busy."""
    connection = await asyncpg.connect(serve.database_url)
    try:
        for _ in range(100):  # each is made at its first use, the ping within two seconds
            rows = await connection.fetch(
                "SELECT split_part(application_name, '/', 1), count(*) FROM pg_stat_activity GROUP BY 1"
            )
            beside = {name: n for name, n in rows if name.startswith("runstream-") and name != "runstream-writer"}
            if sum(beside.values()) >= 5:
                break
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    assert beside == {"runstream-notifier": 1, "runstream-ping": 2, "runstream-rollup": 2}


def test_reflection_lists_our_services(serve: ServeProcess) -> None:
    with grpc.insecure_channel(serve.grpc_address) as channel:
        listed = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert {*SERVICES[1:], "grpc.health.v1.Health"} <= listed


def test_unknown_service_has_no_health(serve: ServeProcess) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health_of(serve, "no.such.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_every_log_record_has_an_action_and_a_message(serve: ServeProcess) -> None:
    assert all(line.startswith("{") for line in serve.stderr.splitlines())
    assert all(record["action"] and record["message"] for record in serve.log_records)
    assert {"embedded_postgres_started", "migration_applied", "service_ready"} <= set(serve.actions())


# -- ending ----------------------------------------------------------------------------------------------------------


def test_sigterm_ends_with_zero_within_the_grace_and_leaves_no_postgres(data_dir: Path) -> None:
    with ServeProcess(data_dir, arguments=["--shutdown-grace", "600"]) as serve:
        assert serve.terminate(timeout_s=60) == 0
        assert serve.postgres_pid is None
        assert serve.actions()[-1] == "service_stopped"


def test_sigterm_ends_in_time_while_a_client_watches_and_never_leaves(data_dir: Path) -> None:
    serve = ServeProcess(data_dir, arguments=["--shutdown-grace", "3"])
    with serve, grpc.insecure_channel(serve.grpc_address) as channel:
        updates = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(updates).status == SERVING
        assert serve.terminate(timeout_s=60) == 0  # the client would stay forever
        assert next(updates).status == NOT_SERVING


def test_sigterm_while_starting_ends_with_zero(data_dir: Path) -> None:
    url = "postgresql://postgres@127.0.0.1:1/x"
    command = [*COMMAND, "serve", *ANY_PORTS, "--database", url, "--data-dir", str(data_dir)]
    process = preloaded.Preloaded(command, command_environment(), stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert "database_awaited" in process.stderr.readline()
    process.terminate()
    _, rest = process.communicate(timeout=250)
    assert process.returncode == 0
    assert "service_stopped" in rest


def test_second_signal_forces_the_end(data_dir: Path) -> None:
    with ServeProcess(data_dir, arguments=["--shutdown-grace", "60"]) as serve:
        with grpc.insecure_channel(serve.grpc_address) as channel:
            updates = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(updates).status == SERVING
            os.kill(serve.pid, signal.SIGINT)
            serve.wait_for_action("shutdown_started")
            os.kill(serve.pid, signal.SIGINT)
            assert serve.wait() == 130
        serve.start()
        assert serve.get("/readyz")[0] == 200


def test_a_service_that_was_started_in_the_background_ignores_ctrl_c_and_ends_when_asked(data_dir: Path) -> None:
    ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *COMMAND]
    with ServeProcess(data_dir, command=ignoring) as serve:
        os.kill(serve.pid, signal.SIGINT)
        assert serve.get("/readyz")[0] == 200
        assert serve.terminate() == 0
        assert [record["signal"] for record in serve.log_records if record["action"] == "shutdown_started"] == [
            "SIGTERM"
        ]


# -- surviving -------------------------------------------------------------------------------------------------------


def test_after_kill_9_the_next_start_adopts_postgres_on_the_same_ports(data_dir: Path) -> None:
    with ServeProcess(data_dir) as serve:
        postgres_pid, address = serve.postgres_pid, serve.grpc_address
        serve.kill()
        serve.start()
        assert (serve.postgres_pid, serve.grpc_address) == (postgres_pid, address)
        assert "embedded_postgres_adopted" in serve.actions()
        assert serve.get("/readyz")[0] == 200
        # Still supervised, although it is not our child.
        assert postgres_pid is not None
        os.kill(postgres_pid, signal.SIGKILL)
        serve.wait_for_action("embedded_postgres_started", count=2)
        serve.wait_until("/readyz", 200)


def test_killed_postgres_is_restarted_and_readiness_tells_the_truth_meanwhile(data_dir: Path) -> None:
    with ServeProcess(data_dir) as serve:
        assert serve.postgres_pid is not None
        os.kill(serve.postgres_pid, signal.SIGKILL)
        serve.wait_for_action("embedded_postgres_died")
        serve.wait_for_action("embedded_postgres_started", count=2)
        serve.wait_until("/readyz", 200)
        assert health_of(serve) == SERVING
        assert serve.get("/healthz")[0] == 200


async def test_health_and_readyz_follow_a_database_that_goes_and_comes(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir / "theirs", options={"shared_buffers": "16MB"})
    await postgres.start()
    try:
        with ServeProcess(data_dir / "ours", arguments=["--database", postgres.url]) as serve:
            assert not (data_dir / "ours" / "postgres").exists()  # nothing embedded
            assert postgres.pid is not None
            await postgres.stop()
            body = serve.wait_until("/readyz", 503)
            assert "PostgreSQL" in json.loads(body)["problems"]["database"]
            assert [health_of(serve, service) for service in SERVICES] == [NOT_SERVING] * 4
            # A restart would not bring it back.
            assert (serve.get("/healthz")[0], health_of(serve, LIVENESS)) == (200, SERVING)
            assert "runstream_database_up 0.0" in serve.get("/metrics")[1]
            await postgres.start()
            serve.wait_until("/readyz", 200)
            assert health_of(serve) == SERVING
            assert {"database_lost", "database_back"} <= set(serve.actions())
    finally:
        await postgres.stop()


async def test_database_that_comes_late_is_waited_for(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir / "theirs", options={"shared_buffers": "16MB"})
    await postgres.start()
    url = postgres.url
    await postgres.stop()
    serve = ServeProcess(data_dir / "ours", arguments=["--database", url])
    starting = asyncio.create_task(asyncio.to_thread(serve.start))
    try:
        await asyncio.to_thread(serve.wait_for_action, "database_awaited")
        await postgres.start()
        await starting
        assert serve.get("/readyz")[0] == 200
        assert serve.terminate() == 0
    finally:
        serve.__exit__(None, None, None)
        await postgres.stop()


async def test_database_of_a_newer_release_is_served_unless_something_was_taken_away(
    database_url: str, data_dir: Path
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, 'future', 'before', now(), '')")
    with ServeProcess(data_dir, arguments=["--database", database_url]) as serve:
        assert serve.get("/readyz")[0] == 200
        assert "database_newer" in serve.actions()
    await connection.execute("UPDATE schema_migrations SET when_text = 'after' WHERE version = 9999")
    await connection.close()
    code, message = refused(*ANY_PORTS, "--database", database_url, "--data-dir", str(data_dir))
    assert code == 2
    assert "the database has schema version 9999" in message.splitlines()[-1]
    assert "Traceback" not in message


def test_two_services_on_one_data_dir_are_refused(serve: ServeProcess) -> None:
    code, message = refused(*ANY_PORTS, "--data-dir", str(serve.data_dir))
    assert code == 2
    assert f"another `runstream serve` (process {serve.pid})" in message


async def test_password_of_the_database_is_in_no_log(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute("DROP DATABASE IF EXISTS secretive")
        await connection.execute("CREATE DATABASE secretive")
    finally:
        await connection.close()
    url = postgres.url.replace("postgres@/runstream", "postgres:hunter2@/secretive")
    with ServeProcess(data_dir / "x", arguments=["--database", url, "--log-level", "debug"]) as serve:
        assert serve.get("/readyz")[0] == 200
        pages = "".join(serve.get(path)[1] for path in ("/about", "/metrics", "/readyz", "/healthz"))
        serve.terminate()
        assert "hunter2" not in serve.stderr + pages


# -- refusing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--log-level", "loud", "is not one of debug, info"),
        ("--http-listen", "192.0.2.1:5000", "cannot listen on 192.0.2.1:5000"),
        ("--grpc-listen", "no.such.host.invalid:5000", "cannot listen on no.such.host.invalid:5000"),
        ("--database", "mysql://root:hunter2@db/x", "its scheme is 'mysql'"),
        ("--database", "postgresql://me:hunter2@127.0.0.1:notaport/x", "the port of server 1"),
        ("--database", "postgresql://me:hunter2@127.0.0.1:1/x", "cannot connect: PostgreSQL cannot be reached"),
        ("--data-dir", "/proc/runstream", "cannot write to /proc/runstream"),
    ],
)
def test_bad_setting_is_refused_in_one_line_that_names_it(flag: str, value: str, words: str) -> None:
    settings = {"--grpc-listen": "127.0.0.1:0", "--http-listen": "127.0.0.1:0", "--database-wait": "0"}
    settings.pop(flag, None)
    variable = "RUNSTREAM_" + flag[2:].replace("-", "_").upper()
    environment = {variable: value, "RUNSTREAM_ALLOW_ANONYMOUS": "1"}
    code, message = refused(*(word for pair in settings.items() for word in pair), environment=environment)
    assert code == (1 if "cannot be reached" in words else 2), "1: it may be there later"
    assert words in message
    last_line = message.splitlines()[-1]
    assert last_line.startswith(f"runstream: {flag} ({variable}): ")
    assert f"for example: {flag} " in last_line
    assert "Traceback" not in message
    assert "hunter2" not in message


@pytest.mark.parametrize("flag", ["--grpc-listen", "--http-listen"])
def test_port_in_use_is_refused(flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = "--http-listen" if flag == "--grpc-listen" else "--grpc-listen"
        code, message = refused(flag, address, other, "127.0.0.1:0")
    assert code == 2
    assert message.splitlines()[-1].startswith(f"runstream: {flag} (")
    assert "Address already in use" in message


def test_slow_backend_of_protobuf_is_refused() -> None:
    code, message = refused(*ANY_PORTS, environment={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"})
    assert code == 2
    assert "protobuf runs on its 'python' backend" in message


# -- the command -----------------------------------------------------------------------------------------------------


def test_help_names_every_variable_and_default() -> None:
    done = subprocess.run([*COMMAND, "serve", "--help"], capture_output=True, text=True, check=True)
    for words in ("RUNSTREAM_GRPC_LISTEN", "127.0.0.1:50051", "RUNSTREAM_DATABASE", "RUNSTREAM_JSON_READY"):
        assert words in done.stdout


@pytest.mark.parametrize(("missing", "extra"), [("click", "cli"), ("structlog", "server")])
def test_where_a_package_is_missing_one_line_says_what_to_install(missing: str, extra: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from runstream.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, "serve"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"pip install 'runstream[{extra}]'" in done.stderr


@pytest.mark.parametrize("command", ["doctor", "exec", "login"])
def test_without_click_commands_of_a_training_machine_work_in_plain_text(command: str) -> None:
    script = "import sys; sys.modules['click'] = None; from runstream.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, command, "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: python -m runstream.{command}" in done.stdout


def command_without(*directories: str) -> str:
    """A program in Python: the command `runstream` where distributions are missing, by their directories."""
    return (
        "import sys; sys.argv[0] = 'runstream'; "
        f"sys.path[:] = [path for path in sys.path if path.rpartition('/')[2] not in {directories}]; "
        "from runstream.cli import main; main()"
    )


WITHOUT_SERVER = command_without("service", "bench")


def test_where_the_client_is_alone_one_line_says_how_to_get_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_SERVER, "serve"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "runstream: the server is not installed here; this command comes with: pip install 'runstream[server]'\n"
    )
    done = subprocess.run([sys.executable, "-c", WITHOUT_SERVER, "--help"], capture_output=True, text=True, check=True)
    assert re.search(r"serve +\(the server is not installed here\)", done.stdout)
    assert re.search(r"agent +Send the journals", done.stdout)


def test_where_the_benchmark_is_missing_one_line_says_what_it_is_and_how_to_get_it() -> None:
    script = command_without("bench")
    done = subprocess.run([sys.executable, "-c", script, "bench"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "runstream: the benchmark is not installed here; it measures runstream, for those who work on it, and comes "
        "with a clone of the repository: run `make install` there, then .venv/bin/runstream bench\n"
    )
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    assert "bench" not in done.stdout
    assert re.search(r"serve +Run the service", done.stdout)


@pytest.mark.parametrize(
    ("missing", "without"), [((), set()), (("bench",), {"bench"}), (("service", "bench"), {"serve", "bench"})]
)
def test_a_shell_completes_the_commands_of_what_is_installed(missing: tuple[str, ...], without: set[str]) -> None:
    asked = {"_RUNSTREAM_COMPLETE": "bash_complete", "COMP_WORDS": "runstream ", "COMP_CWORD": "1"}
    script = command_without(*missing)
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    names = {line.partition(",")[2] for line in done.stdout.splitlines()}
    assert {"ls", "agent", "serve", "bench"} - names == without


def test_help_lists_the_commands_that_miss_a_package_too() -> None:
    script = "import sys; sys.modules['structlog'] = None; from runstream.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    assert re.search(r"serve +\(structlog is not installed here\)", done.stdout)
    assert re.search(r"tail +Print the points of RUN", done.stdout)


def test_terminal_gets_a_banner_and_ctrl_c_ends_it(data_dir: Path) -> None:
    controller, terminal = pty.openpty()
    command = [*COMMAND, "serve", *ANY_PORTS, "--data-dir", str(data_dir)]
    process = preloaded.Preloaded(command, command_environment(), stdout=terminal, stderr=subprocess.DEVNULL)
    os.close(terminal)
    shown = b""
    while b"Ctrl-C stops it" not in shown:
        shown += os.read(controller, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    os.close(controller)
    text = shown.decode()
    assert re.search(r"gRPC +127\.0\.0\.1:\d+", text)
    assert re.search(r"HTTP +http://127\.0\.0\.1:\d+", text)
    assert str(data_dir) in text
    assert "runstream.start_run" in text


def test_calls_that_come_all_at_once_wait_their_turn(serve: ServeProcess) -> None:
    """By default, gRPC cancels some of more than a thousand calls."""
    request = run_pb2.ListExperimentsRequest()
    with grpc.insecure_channel(serve.grpc_address) as channel:
        stub = run_pb2_grpc.RunServiceStub(channel)
        stub.ListExperiments(request, timeout=20)
        with serve.frozen():
            calls = [stub.ListExperiments.future(request, timeout=30) for _ in range(3_000)]
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}
