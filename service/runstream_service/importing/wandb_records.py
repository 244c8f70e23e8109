"""Reads the files `run-*.wandb` that the client of Weights & Biases writes, without that client.

A file has a header of seven bytes, and then a log in the format of LevelDB
(https://github.com/google/leveldb/blob/main/doc/log_format.md) with one difference: checksums are CRC-32 as in zlib, of
type and data, and not masked. Each record is a protobuf message `Record`. This module defines the fields that it needs;
protobuf skips the others.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_HEADER = struct.Struct("<4sHB")  # of the file: what it is, a constant, the version
_IDENTIFIER, _CONSTANT, _VERSION = b":W&B", 0xBEE1, 0
_RECORD = struct.Struct("<IHB")  # of a record: checksum, length, type
_BLOCK_BYTES = 32 * 1024
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

# Of wandb_internal.proto: name, number, type, and R for those that repeat.
_FIELDS: dict[str, tuple[tuple[str, int, str, str], ...]] = {
    "Record": (
        ("history", 2, "HistoryRecord", ""),
        ("summary", 3, "SummaryRecord", ""),
        ("config", 5, "ConfigRecord", ""),
        ("stats", 7, "StatsRecord", ""),
        ("run", 17, "RunRecord", ""),
        ("exit", 18, "RunExitRecord", ""),
    ),
    "RunRecord": (
        ("run_id", 1, "string", ""),
        ("entity", 2, "string", ""),
        ("project", 3, "string", ""),
        ("config", 4, "ConfigRecord", ""),
        ("run_group", 6, "string", ""),
        ("job_type", 7, "string", ""),
        ("display_name", 8, "string", ""),
        ("notes", 9, "string", ""),
        ("tags", 10, "string", "R"),
        ("host", 13, "string", ""),
        ("start_time", 17, "Timestamp", ""),
        ("git", 21, "GitRepoRecord", ""),
    ),
    "GitRepoRecord": (("remote_url", 1, "string", ""), ("commit", 2, "string", "")),
    "ConfigRecord": (("update", 1, "Item", "R"), ("remove", 2, "Item", "R")),
    "SummaryRecord": (("update", 1, "Item", "R"), ("remove", 2, "Item", "R")),
    "HistoryRecord": (("item", 1, "Item", "R"), ("step", 2, "HistoryStep", "")),
    "HistoryStep": (("num", 1, "int64", ""),),
    "StatsRecord": (("timestamp", 2, "Timestamp", ""), ("item", 3, "Item", "R")),
    "Item": (("key", 1, "string", ""), ("nested_key", 2, "string", "R"), ("value_json", 16, "string", "")),
    "RunExitRecord": (("exit_code", 1, "int32", ""), ("runtime", 2, "int32", "")),
    "Timestamp": (("seconds", 1, "int64", ""), ("nanos", 2, "int32", "")),
}
_SCALARS = {"string": 9, "int64": 3, "int32": 5}  # types of FieldDescriptorProto
_MESSAGE = 11


class DamagedFile(Exception):
    """A file is damaged. The message says how, and from which byte on the file was not read."""


def records(path: Path) -> Iterator[Any]:
    """The messages of a file, in order. An incomplete last record is no error and is left out: a process that was
    killed leaves one, and a running process may just be writing it.

    Raises:
        DamagedFile, OSError.
    """
    new = _record_class()
    for data in _payloads(path):
        message = new()
        message.ParseFromString(data)
        yield message


def _payloads(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return  # nothing was written yet
        if _HEADER.unpack(head) != (_IDENTIFIER, _CONSTANT, _VERSION):
            raise DamagedFile("it does not begin as a file of wandb does")
        at, parts = _HEADER.size, list[bytes]()
        while True:
            left = _BLOCK_BYTES - at % _BLOCK_BYTES
            if left < _RECORD.size:  # too little for the header of a record: the block is padded with zeros
                if len(file.read(left)) < left:
                    return  # padding is only written with the record after it
                at += left
            head = file.read(_RECORD.size)
            if len(head) < _RECORD.size:
                return
            checksum, size, kind = _RECORD.unpack(head)
            data = file.read(size)
            if len(data) < size:
                return
            if not _FULL <= kind <= _LAST or zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum:
                raise DamagedFile(f"the record at byte {at:,} is damaged; the file was not read further")
            at += _RECORD.size + size
            if kind in (_FULL, _FIRST):
                parts.clear()
            parts.append(data)
            if kind in (_FULL, _LAST):
                yield b"".join(parts)


@cache
def _record_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="runstream/wandb_file.proto", package="runstream.wandb", syntax="proto3"
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeats in fields:
            added = message.field.add(
                name=field, number=number, label=3 if repeats else 1, type=_SCALARS.get(kind, _MESSAGE)
            )
            if kind not in _SCALARS:
                added.type_name = f".runstream.wandb.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("runstream.wandb.Record"))
