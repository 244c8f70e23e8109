"""As little HTTP/1.1 as a load needs: a kept connection, one request at a time.

The load shares the machine with the server that is measured, so the processor time of a library would be part of the
figures. Everything else uses http_client.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import urlsplit

_CHUNK = 1 << 20


class Failed(Exception):
    """The server answered with something else than 200."""


class Connection:
    """A connection to one server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, token: str) -> None:
        self._reader = reader
        self._writer = writer
        self._always = f"Host: {host}\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")

    @classmethod
    async def open(cls, url: str, *, token: str = "") -> Connection:
        """Connects to the server of a URL. A token goes with every request."""
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=_CHUNK)
        return cls(reader, writer, address.netloc, token)

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, url: str, *, token: str = "") -> AsyncIterator[Connection]:
        """A connection for a short time: servers close connections that are idle for some seconds."""
        connection = await cls.open(url, token=token)
        try:
            yield connection
        finally:
            connection.close()

    def post(self, path: str, body: bytes) -> bytes:
        """The bytes of a request with JSON, to be made before the clock starts."""
        return self._head("POST", path, f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n") + body

    def get(self, path: str) -> bytes:
        """The bytes of a GET."""
        return self._head("GET", path)

    async def ask(self, request: bytes) -> bytes:
        """Sends it and reads the whole answer. Raises Failed."""
        self._writer.write(request)
        status, length = await self._read_head()
        body = b"".join([part async for part in self._body(length)])
        if status != 200:
            raise Failed(f"{status}: {body[:300].decode(errors='replace')}")
        return body

    async def call(self, path: str, body: Any) -> Any:
        """POST of an object, answer as an object; for what is not timed."""
        return json.loads(await self.ask(self.post(path, json.dumps(body).encode())))

    async def upload(self, path: str, parts: Iterable[bytes], length: int) -> None:
        """PUT of a long body, part by part. Raises Failed."""
        kind = f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n"
        self._writer.write(self._head("PUT", path, kind))
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()
        status, answered = await self._read_head()
        body = b"".join([part async for part in self._body(answered)])
        if status != 200:
            raise Failed(f"{status}: {body[:300].decode(errors='replace')}")

    async def download(self, path: str) -> int:
        """GETs a long body, drops it part by part, and returns its length. Raises Failed."""
        self._writer.write(self.get(path))
        status, length = await self._read_head()
        received = 0
        async for part in self._body(length):
            received += len(part)
        if status != 200:
            raise Failed(str(status))
        return received

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()

    def _head(self, method: str, path: str, fields: str = "") -> bytes:
        return f"{method} {path} HTTP/1.1\r\n{self._always}{fields}\r\n".encode()

    async def _read_head(self) -> tuple[int, int | None]:
        """Status and length; None is a body in chunks."""
        lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        length: int | None = 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            name = name.lower()
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                length = None
        return int(lines[0].split(b" ", 2)[1]), length

    async def _body(self, length: int | None) -> AsyncIterator[bytes]:
        if length is not None:
            while length:
                part = await self._reader.read(min(length, _CHUNK))
                if not part:
                    raise Failed("the connection ended within an answer")
                length -= len(part)
                yield part
            return
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readuntil(b"\r\n")
