"""How each command of a document is covered: run as it stands there, or compared with what the program takes.

Each line of a `bash` block must match a pattern of COMMANDS, whose function runs it or names the test that does.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import helm_python
import kubernetes_validate
import yaml

import runstream
from runstream.journal import Directory
from runstream_bench import http_client
from runstream_bench.cli import bench
from runstream_bench.durability.names import SCENARIOS, TRACKERS
from runstream_service.database.migrate import migrate, packaged_migrations
from runstream_service.database.pool import Database
from runstream_service.server.settings import OPTIONS, read_settings
from tests.deploy.chart import CHART
from tests.deploy.chart import objects as chart_objects
from tests.support.access import make_token
from tests.support.authorities import Authority
from tests.support.databases import PROGRAMS, with_database
from tests.support.document_reader import Reader, output_of, program
from tests.support.markdown import ROOT, Block, table_of
from tests.support.serve import command_environment
from tests.unit.client.transport.journals import Trainer

CLIENT = ROOT / "docs" / "client.md"


def make_target(_reader: Reader, found: re.Match[str]) -> None:
    """Checks only that make has the target: test_demo.py runs `make demo`, and `make test` runs this test."""
    # Not as a child of the make that runs the tests; and as if nothing was installed yet.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--dry-run", "--always-make", found[1]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert found[1] == "help" or ".venv/bin/" in done.stdout


def serve_command(reader: Reader, found: re.Match[str]) -> None:
    """Starts it with the options of the document, on free ports unless the line has ports; stops it with SIGTERM."""
    environment = {
        "RUNSTREAM_GRPC_LISTEN": "127.0.0.1:0",
        "RUNSTREAM_HTTP_LISTEN": "127.0.0.1:0",
        "RUNSTREAM_JSON_READY": "1",
        "RUNSTREAM_LOG_LEVEL": "error",
    }
    arguments = shlex.split(found[1].replace("127.0.0.1:9464", "127.0.0.1:0"))
    if "--server-certificate" in arguments:
        write_certificates(reader.directory)
    process = reader.start(program("runstream"), "serve", *arguments, **environment)
    assert process.stdout is not None
    assert re.match(r'{"grpc": "(grpcs://)?127\.0\.0\.1:', process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    output_of(process)


def docker_run(_reader: Reader, found: re.Match[str]) -> None:
    """There is no container engine here; the variables are settings, and their files are on the volume."""
    given = dict(re.findall(r"--env (\w+)=(\S+)", found[1]))
    assert given.keys() <= {option.variable for option in OPTIONS}
    (mounted,) = re.findall(r"--volume [^:]+:([^:]+):ro", found[1])
    assert all(value.startswith(f"{mounted}/") for value in given.values())


def write_certificates(directory: Path) -> None:
    authority = Authority()
    issued = authority.issue()
    for name, content in (("tls.crt", issued.chain), ("tls.key", issued.key), ("clients.crt", authority.pem)):
        (directory / name).write_bytes(content)


def script(reader: Reader, found: re.Match[str]) -> None:
    reader.said[found[0]] = reader.run(sys.executable, found[1])


def curl(reader: Reader, found: re.Match[str]) -> None:
    """Fetches the page from the service that runs here."""
    assert http_client.get(reader.serve.http_url + found[1]).status == 200


def tail(reader: Reader, found: re.Match[str]) -> None:
    """Follows while jobs run, sees a point, and ends with Ctrl-C."""
    process = reader.start(program("runstream"), *shlex.split(found[1]))
    assert process.stdout is not None
    while not select.select([process.stdout], [], [], 0.1)[0]:
        # The same steps of the same run again, of which the client warns.
        reader.start(sys.executable, "log_some.py").communicate(timeout=250)
    assert "loss" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output_of(process)


def data_command(reader: Reader, found: re.Match[str]) -> None:
    """Runs the command as it is; `data` is the data directory of the service."""
    (reader.directory / "data").unlink(missing_ok=True)
    (reader.directory / "data").symlink_to(reader.serve.data_dir)
    reader.run(program("runstream"), *shlex.split(found[1]))


def access_command(reader: Reader, found: re.Match[str]) -> None:
    """As it stands there, against a service that asks for tokens, with the first one that was made; a token is revoked
    by an id that there is."""
    options = shlex.split(found[1])
    if not reader.token and "--data-dir" not in options:
        reader.token = make_token(reader.asking, name="of the reader", role="admin")
    who = {
        "RUNSTREAM_ADDRESS": reader.asking.grpc_address,
        **({"RUNSTREAM_TOKEN": reader.token} if reader.token else {}),
    }
    if "--data-dir" in options:
        options[options.index("--data-dir") + 1] = str(reader.asking.data_dir)
    if options[:2] == ["token", "revoke"]:
        listed = output_of(reader.start(program("runstream"), "token", "list", "--all", "--json", **who))
        options[2] = str(json.loads(listed.splitlines()[0])["id"])
    process = reader.start(program("runstream"), *options, **who)
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, out + err
    if options[:2] == ["token", "create"]:
        reader.token = reader.token or out.strip()


def doctor_command(reader: Reader, found: re.Match[str]) -> None:
    """Runs it with the addresses of the service of this test; it finds nothing wrong."""
    options = shlex.split(found[1])
    given = {"--address": reader.serve.grpc_address, "--http": reader.serve.http_url, "--dir": "journals"}
    for option in set(options) & given.keys():
        options[options.index(option) + 1] = given[option]
    where = {
        "RUNSTREAM_DIR": str(reader.directory / "journals"),
        "RUNSTREAM_MLFLOW_HTTP_ADDRESS": reader.serve.http_url,
    }
    output_of(reader.start(program("runstream"), "doctor", *options, **where))


def login_command(reader: Reader, found: re.Match[str]) -> None:
    """At the service that runs here, which asks for no token; the options are those of the document."""
    options = shlex.split(found[1])
    where = {"XDG_CONFIG_HOME": str(reader.directory / "config")}
    if not options:
        assert "deleted" in output_of(reader.start(program("runstream"), "logout", **where))
        return
    own = [reader.serve.http_url, "--grpc-address", reader.serve.grpc_address]
    given = {"--workspace": "default"}  # of TLS, the service here has none
    known = [part for option in options if option in given for part in (option, given[option])]
    command = [program("runstream"), "login", *own, *known]
    done = subprocess.run(command, env=reader.environment(where), input="rst_x\n", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def exported(_reader: Reader, found: re.Match[str]) -> None:
    """The client reads this variable."""
    assert found[1] in {row[0] for row in table_of(CLIENT, "variable")}


def agent_command(reader: Reader, found: re.Match[str]) -> None:
    """It ends when nothing is left to do, here at once; with a port, by SIGTERM."""
    where = {"RUNSTREAM_DIR": str(reader.directory / "journals"), "RUNSTREAM_AGENT_IDLE_S": "0"}
    options = shlex.split(found[1])
    given = {
        "--mlflow-listen": "127.0.0.1:0",
        "--address": reader.serve.grpc_address,
        "--http": reader.serve.http_url,
    }
    for option in set(options) & given.keys():
        options[options.index(option) + 1] = given[option]
    process = reader.start(program("runstream"), "agent", *options, **where)
    if "--mlflow-listen" in options:
        assert process.stderr is not None
        while "MLflow's API is at port" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=250)
    assert process.returncode == 0, log


def exec_command(reader: Reader, found: re.Match[str]) -> None:
    command = (program("runstream"), "exec", *shlex.split(found[1]), "--quiet", "--", sys.executable, found[2])
    reader.run(*command)


def sync_command(reader: Reader, found: re.Match[str]) -> None:
    """Sends a journal that was left."""
    directory = Directory(reader.directory / "offline")
    directory.make()
    offline = Trainer.start(directory, reader.serve.grpc_address)
    offline.log(range(10))
    offline.finish()
    offline.die()
    options = [str(directory.path) if option.startswith("~") else option for option in shlex.split(found[1])]
    output_of(reader.start(program("runstream"), "sync", *options))


def bench_command(_reader: Reader, found: re.Match[str]) -> None:
    """The command has these options and names; test_bench.py runs it."""
    options = bench.make_context("bench", shlex.split(found[1])).params
    assert {name for several in options["only"] for name in several} <= TRACKERS.keys()
    assert {name for several in options["scenario"] for name in several} <= SCENARIOS.keys()


def distribute_command(reader: Reader, _found: re.Match[str]) -> None:
    """Without a cluster it refuses; tests/citus has one."""
    command = [program("runstream"), "distribute", "--database", reader.serve.database_url]
    done = subprocess.run(command, capture_output=True, text=True, env=command_environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"runstream: --database .*no extension citus.*docs/citus\.md\)\n", done.stderr)


def kubectl_secret(_reader: Reader, found: re.Match[str]) -> None:
    """The Secret is the one that the chart expects, with a URL that the service accepts."""
    database = yaml.safe_load((CHART / "values.yaml").read_text())["database"]
    assert found.group("name", "key") == (database["existingSecret"], database["key"])
    read_settings({"--database": found["url"]})


def helm_command(reader: Reader, found: re.Match[str]) -> None:
    """Renders what it would install; tests/deploy looks closer."""
    values: dict[str, object] = {}
    arguments = iter(shlex.split(found[1]))
    for option, value in zip(arguments, arguments, strict=True):
        if option == "--values":
            values |= yaml.safe_load((reader.directory / value).read_text())
        else:
            assert option == "--set"
            values |= helm_python.parse_set_string(value)
    for thing in chart_objects(values):
        if thing["kind"] not in ("ServiceMonitor", "PrometheusRule"):
            kubernetes_validate.validate(thing, "1.30", strict=True)


def kubectl_object(_reader: Reader, found: re.Match[str]) -> None:
    """The chart makes such an object by that name; and to a port that it forwards, it has one."""
    kind, name, port = found.group("kind", "name", "port")
    (thing,) = (one for one in chart_objects({}) if (one["kind"].lower(), one["metadata"]["name"]) == (kind, name))
    assert port is None or int(port) in {one["port"] for one in thing["spec"]["ports"]}


def kubectl_pods(_reader: Reader, found: re.Match[str]) -> None:
    """The pods of the chart have this label."""
    (pods,) = (one["spec"]["template"] for one in chart_objects({}) if one["kind"] == "Deployment")
    assert pods["metadata"]["labels"][found[1]] == found[2]


def helm_release(_reader: Reader, found: re.Match[str]) -> None:
    """There is nothing to it but the name of the release; `helm test` runs in tests/deploy/test_image.py."""
    assert found[1] in ("history", "rollback", "test", "uninstall")


def pg_dump(reader: Reader, found: re.Match[str]) -> None:
    """Dumps the database of the service of this test, with points in it."""
    reader.run(
        sys.executable, "-c", "import runstream as r\nwith r.start_run('kept') as run: run.log({'loss': 1.5}, step=1)"
    )
    reader.run(str(PROGRAMS / "pg_dump"), *shlex.split(found[1]), reader.serve.database_url)


def pg_restore(reader: Reader, found: re.Match[str]) -> None:
    """Into a new database of the same server; then all is there, and a service may start on it."""

    async def restored() -> None:
        there = with_database(reader.serve.database_url, "restored")
        connection = await asyncpg.connect(reader.serve.database_url)
        await connection.execute("CREATE DATABASE restored")
        before = await connection.fetch(POINTS)
        await connection.close()
        reader.run(str(PROGRAMS / "pg_restore"), *shlex.split(found[1]), f"--dbname={there}", found[2])
        connection = await asyncpg.connect(there)
        assert (await connection.fetch(POINTS)) == before != []
        await connection.close()
        database = await Database.open(there, max_size=1)
        assert await migrate(database) == len(packaged_migrations())
        await database.close()

    asyncio.run(restored())


POINTS = "SELECT run_id, key, count(*), sum(value::numeric) FROM metric_points GROUP BY 1, 2 ORDER BY 1, 2"


def tensorboard_command(reader: Reader, found: re.Match[str]) -> None:
    """What follows is ended with Ctrl-C when it has found the run."""
    arguments = shlex.split(found[1])
    process = reader.start(program("runstream"), "tensorboard", *arguments)
    if "--once" not in arguments and "--dry-run" not in arguments:
        assert process.stderr is not None
        assert "following" in process.stderr.readline()
        assert "run 'mlp'" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    reader.said[found[0]] = out


def import_command(reader: Reader, found: re.Match[str]) -> None:
    """Everything was imported."""
    http = {"RUNSTREAM_MLFLOW_HTTP_ADDRESS": reader.serve.http_url}
    process = reader.start(program("runstream"), "import", *shlex.split(found[1]), **http)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert "everything in the source is here, and equal" in out
    reader.said[found[0]] = out


def kustomization(_reader: Reader, found: re.Match[str]) -> None:
    """The directory has a kustomization; tests/deploy/test_files.py checks what it lists."""
    assert (ROOT / found[1] / "kustomization.yaml").is_file()


TORCHRUN = [
    {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"} for rank in (0, 1)
]
SRUN = [{"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank)} for rank in (0, 1)]
MPIRUN = [
    {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_MCA_orte_precondition_transports": "1f-2e"} for rank in (0, 1)
]  # fmt: skip


def launched(ranks: list[dict[str, str]]) -> Callable[[Reader, re.Match[str]], None]:
    """Two ranks of the job, with the environment that the launcher gives them."""

    def launch(reader: Reader, found: re.Match[str]) -> None:
        processes = [reader.start(sys.executable, found[1], **environment) for environment in ranks]
        (run_id,) = {re.findall(r"run (\w{32}):", output_of(process))[0] for process in processes}
        with runstream.Client(reader.serve.grpc_address) as client:
            assert {point.rank for point in client.latest(run_id)} == {0, 1}
            assert client.get_run(run_id).status == "FINISHED"

    return launch


def job_file(_reader: Reader, found: re.Match[str]) -> None:
    """tests/deploy/test_jobs.py submits the batch script. The variables for Ray are ones that clients read."""
    path = ROOT / found[1]
    if path.suffix == ".yaml":
        known = {"MLFLOW_TRACKING_URI", *(row[0] for row in table_of(CLIENT, "variable"))}
        assert set(yaml.safe_load(path.read_text())["env_vars"]) <= known
    else:
        assert os.access(path, os.R_OK)


COMMANDS: dict[str, Callable[[Reader, re.Match[str]], None]] = {
    r"make ([\w-]+)": make_target,
    r"(?:\.venv/bin/)?runstream serve ?(.*)": serve_command,
    r"runstream (tail .*)": tail,
    r"runstream doctor ?(.*)": doctor_command,
    r"runstream agent ?(.*)": agent_command,
    r"runstream exec (.*) -- python (\w+\.py)": exec_command,
    r"runstream log(?:in|out) ?(.*)": login_command,
    r"export (RUNSTREAM_\w+)=\S+(?: +#.*)?": exported,
    r"runstream sync (.*)": sync_command,
    r"runstream ((?:workspace|token|tracking-uri|audit)\b.*)": access_command,
    r"runstream tensorboard (.*)": tensorboard_command,
    r"runstream import (.*)": import_command,
    r"runstream ((?:export|delete|restore|mv|retention|gc|status) .*)": data_command,
    r"runstream ((?:ls|show|history|plot|compare|top|open)\b.*)": data_command,
    r"runstream bench (.*)": bench_command,
    r"runstream (distribute) --database postgresql://\S+": distribute_command,
    r"\.venv/bin/python (\w+\.py)": script,
    r"curl http://127\.0\.0\.1:5000(/\w+)": curl,
    r"kubectl create secret generic (?P<name>\S+) --from-literal=(?P<key>\w+)=(?P<url>\S+)": kubectl_secret,
    r"helm (?:install|upgrade) runstream deploy/helm/runstream (.*)": helm_command,
    r"kubectl apply --kustomize (\S+)": kustomization,
    r"kubectl (?:rollout \w+|logs|scale|port-forward) (?P<kind>\w+)/(?P<name>\S+)"
    r"(?: --replicas=\d| \d+:(?P<port>\d+))?": kubectl_object,
    r"kubectl get pods --selector=(\S+)=(\S+)": kubectl_pods,
    r"helm (\w+) runstream": helm_release,
    r"docker run (.*) runstream:\S+": docker_run,
    r"pg_dump (--\S+ --\S+) postgresql://\S+": pg_dump,
    r"pg_restore (--\S+ --\S+) --dbname=postgresql://\S+ (\S+)": pg_restore,
    r"sbatch --ntasks=\d+ --nodes=\d+ (\S+\.sbatch) python train\.py": job_file,
    r"ray job submit --runtime-env (\S+\.yaml) -- python train\.py": job_file,
    r"torchrun --nproc-per-node=\d+ (\w+\.py)": launched(TORCHRUN),
    r"srun --ntasks=\d+ python (\w+\.py)": launched(SRUN),
    r"mpirun -n \d+ python (\w+\.py)": launched(MPIRUN),
}


def coverage_of(line: str) -> tuple[Callable[[Reader, re.Match[str]], None], re.Match[str]]:
    for pattern, command in COMMANDS.items():
        if (found := re.fullmatch(pattern, line)) is not None:
            return command, found
    raise AssertionError(f"no test covers this command: {line}")


def follow(reader: Reader, block: Block) -> None:
    """Do what a block of a document says."""
    if block.language == "yaml":
        (reader.directory / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text)
    elif block.language == "python":
        named = re.match(r"# (\w+\.py)\n", block.text)
        text = block.text.replace("http://127.0.0.1:5000", reader.serve.http_url)
        (reader.directory / (named[1] if named else "snippet.py")).write_text(text)
        if not named:
            reader.run(sys.executable, "snippet.py")
    elif block.language == "bash":
        for line in block.text.splitlines():
            command, found = coverage_of(line)
            command(reader, found)
