"""Writes files as the client of Weights & Biases does, byte by byte: for what it does not leave behind, such as damage.
Files of the real client are in tests/frameworks."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runstream_service.importing import wandb_records

_BLOCK = 32 * 1024


def write(path: Path, payloads: Iterable[bytes]) -> list[int]:
    """A file with these records; returns where each of them begins."""
    out, begins = bytearray(struct.pack("<4sHB", b":W&B", 0xBEE1, 0)), []
    for payload in payloads:
        begins.append(len(out))
        left, first = payload, True
        while first or left:
            room = _BLOCK - len(out) % _BLOCK
            if room < 7:
                out += bytes(room)
                continue
            piece, left = left[: room - 7], left[room - 7 :]
            kind = (1 if not left else 2) if first else (4 if not left else 3)
            out += struct.pack("<IHB", zlib.crc32(piece, zlib.crc32(bytes([kind]))), len(piece), kind) + piece
            first = False
    path.write_bytes(out)
    return begins


def run(run_id: str = "abc", project: str = "digits", **config: Any) -> bytes:
    message = wandb_records._record_class()()
    message.run.run_id, message.run.project, message.run.display_name = run_id, project, "mlp"
    message.run.start_time.seconds = 1_700_000_000
    for key, value in config.items():
        message.run.config.update.add(key=key, value_json=json.dumps(value))
    return bytes(message.SerializeToString())


def history(step: int, **values: Any) -> bytes:
    message = wandb_records._record_class()()
    message.history.step.num = step
    for key, value in {**values, "_timestamp": 1_700_000_000.5 + step}.items():
        message.history.item.add(nested_key=[key], value_json=json.dumps(value))
    return bytes(message.SerializeToString())


def ended(code: int = 0) -> bytes:
    message = wandb_records._record_class()()
    message.exit.exit_code = code
    return bytes(message.SerializeToString())
