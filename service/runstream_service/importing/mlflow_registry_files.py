"""Reads the registry in MLflow's file store, the directory mlruns/models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runstream_service.importing.mlflow_models import DELETED_STAGE
from runstream_service.importing.records import SourceRegisteredModel, SourceVersion, unix_us

_VERSION = "version-"


def read_registered_models(
    root: Path, read_meta: Callable[[Path], Mapping[str, Any]], read_entries: Callable[[Path], dict[str, str]]
) -> Iterator[SourceRegisteredModel]:
    """All registered models below `root`, with their versions. Raises SourceError."""
    for place in sorted(root.iterdir()) if root.is_dir() else ():
        if not (place / "meta.yaml").is_file():
            continue
        meta = read_meta(place)
        versions = [
            _version(read_meta(path), read_entries(path / "tags"))
            for path in place.glob(f"{_VERSION}*")
            if (path / "meta.yaml").is_file()
        ]
        yield SourceRegisteredModel(
            name=str(meta.get("name") or place.name),
            description=str(meta.get("description") or ""),
            created_unix_us=unix_us(meta.get("creation_timestamp")),
            updated_unix_us=unix_us(meta.get("last_updated_timestamp")),
            tags=read_entries(place / "tags"),
            aliases={alias: int(version) for alias, version in read_entries(place / "aliases").items()},
            versions=sorted((one for one in versions if one.stage != DELETED_STAGE), key=lambda one: one.version),
        )


def _version(meta: Mapping[str, Any], tags: Mapping[str, str]) -> SourceVersion:
    return SourceVersion(
        version=int(meta["version"]),
        source=str(meta.get("source") or ""),
        description=str(meta.get("description") or ""),
        stage=str(meta.get("current_stage") or "None"),
        run_id=str(meta.get("run_id") or ""),
        run_link=str(meta.get("run_link") or ""),
        created_unix_us=unix_us(meta.get("creation_timestamp")),
        updated_unix_us=unix_us(meta.get("last_updated_timestamp")),
        tags=tags,
    )
