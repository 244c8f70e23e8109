"""Artifacts with files in them: what a walk does with them."""

from __future__ import annotations

from urllib.parse import quote

from tests.mlflow.parity import experiments, runs
from tests.mlflow.parity.calls import Call
from tests.mlflow.parity.walk import Area, World

_PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_FILES = (
    *("a.txt", "b", "dir/a.txt", "dir/b.txt", "dir/deep/c.txt", "other/deep/c.txt", "UPPER/a.txt", "model/MLmodel"),
    *("two words/a file.txt", "ü/ß 日本.txt", "100%.txt", "a%20b.txt", "per%cent/50%25.txt", "a+b&c=d.txt", ".hidden"),
    *("semi;colon", "(1)/[2].txt", "quote'd", "tilde~", "at@x:y"),
)
_DIRECTORIES = (
    "",
    "dir",
    "dir/",
    "dir/deep",
    "other",
    "two words",
    "ü",
    "per%cent",
    "(1)",
    "model",
    "nowhere",
    "a.txt",
)
# Each leads elsewhere, or nowhere.
_BAD = ("../a", "dir/../a", "..", "dir/../../a")
_MODEL = "{salt} model"


def upload(world: World) -> Call:
    return Call("PUT", _below_proxy(world, _file(world)), content=_text(world))


def upload_of_the_ui(world: World) -> Call:
    query = f"run_uuid={world.run()}&path={quote(_file(world), safe='')}"
    return Call("POST", f"/ajax-api/2.0/mlflow/upload-artifact?{query}", content=_text(world))


def download(world: World) -> Call:
    return Call("GET", _below_proxy(world, _path(world)), changes=False)


def delete(world: World) -> Call:
    """At the top: of a directory without files stock keeps the empty directory, and a bucket knows of none."""
    top = {name.partition("/")[0] for name in (*_FILES, *_DIRECTORIES[1:])}
    return Call("DELETE", _below_proxy(world, world.chance.choice(sorted(top))))


def list_of_run(world: World) -> Call:
    query = {"run_id": world.run(), "path": _directory(world)}
    if world.rarely(0.3):
        del query["path"]
    if world.rarely(0.1):
        query["page_token"] = "next"
    return Call("GET", "artifacts/list", query, changes=False)


def list_below(world: World) -> Call:
    path = f"{world.experiment()}/{world.run()}/artifacts/{_directory(world)}".rstrip("/")
    return Call("GET", _PROXY, {"path": path}, changes=False)


def get_artifact(world: World) -> Call:
    return Call("GET", "/get-artifact", {"run_uuid": world.run(), "path": _path(world)}, changes=False)


def get_of_version(world: World) -> Call:
    version = world.chance.choice(("1", "1", "1", "2", "9"))
    path = world.chance.choice(("MLmodel", "MLmodel", "a.txt", "deep/c.txt", "nowhere", "../a.txt"))
    query = {"name": _MODEL, "version": version, "path": path}
    return Call("GET", "/model-versions/get-artifact", query, changes=False)


def _registered_model(_world: World) -> Call:
    return Call("POST", "registered-models/create", {"name": _MODEL})


def _version_of_a_directory(world: World) -> Call:
    source = f"mlflow-artifacts:/{world.experiments[0]}/{world.runs[0]}/artifacts/"
    directory = "model" if world.rarely(0.5) else "dir"
    return Call("POST", "model-versions/create", {"name": _MODEL, "source": source + directory})


def _first_upload(world: World) -> Call:
    path = world.chance.choice(("model/MLmodel", "dir/a.txt", "a.txt"))
    return Call("PUT", f"{_PROXY}/{world.experiments[0]}/{world.runs[0]}/artifacts/{path}", content=_text(world))


def _below_proxy(world: World, path: str) -> str:
    return f"{_PROXY}/{world.experiments[0]}/{world.run()}/artifacts/{quote(path)}"


def _file(world: World) -> str:
    return world.chance.choice(_FILES)


def _path(world: World) -> str:
    """The path of a file, mostly of an existing one; sometimes of a directory."""
    directories = [name for name in _DIRECTORIES if name and not name.endswith("/")]
    return world.chance.choice(_BAD) if world.rarely() else world.chance.choice((*_FILES[:8], *_FILES, *directories))


def _directory(world: World) -> str:
    return world.chance.choice(_BAD) if world.rarely() else world.chance.choice(_DIRECTORIES)


def _text(world: World) -> str:
    return world.chance.choice(("", "some text", "a longer text\nof two lines", "ü"))


AREA = Area(
    "artifacts",
    (
        (14, upload),
        (4, upload_of_the_ui),
        (10, download),
        (4, delete),
        (12, list_of_run),
        (8, list_below),
        (8, get_artifact),
        (5, get_of_version),
        (1, runs.delete),
        (1, runs.restore),
    ),
    (
        experiments.create_plainly,
        runs.create_plainly,
        runs.create_plainly,
        *(_first_upload,) * 3,
        _registered_model,
        _version_of_a_directory,
        _version_of_a_directory,
    ),
)
