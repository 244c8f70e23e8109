"""A call, and the names under which it knows what servers number differently."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from runstream_bench.http_client import Answer
from tests.support.rest import Rest

# A name stands for an id, a page token or anything else that a server chose: «run 3».
_NAME = re.compile(r"«(\w+)[^»]*»")
# What a name means when the call that should have given it a meaning was refused: nothing that is there.
NOTHING = {"experiment": "987654321", "run": "0" * 32, "model": "m-" + "0" * 32, "version": "987"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request with names in it. `learns` says which names its answer gives a meaning to, and where they are in it.

    A path that begins with / is taken from the root. A GET sends its body as a query; `content` is a body as it is.
    """

    method: str
    path: str
    body: Any = None
    learns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    content: str | None = None
    # Of `content`; JSON if they are not given.
    headers: dict[str, str] | None = None
    changes: bool = True
    # Stock leaves the order of the answer to its database.
    unordered: bool = False

    def __str__(self) -> str:
        shown = self.content if self.content is not None else json.dumps(self.body, ensure_ascii=False)
        return f"{self.method} {self.path} {shown!s:.1500}"


class Peer:
    """One of the two servers, and what the names mean there."""

    def __init__(self, rest: Rest, salt: str = "") -> None:
        self._rest = rest
        self._salt = salt
        self._meanings: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def knows(self, name: str) -> bool:
        """Whether the server has given the name a meaning."""
        return name in self._meanings

    def do(self, call: Call) -> Answer:
        """Sends a call and learns names from the answer."""
        path = self._resolved(call.path)
        body = self._resolved(call.body)
        if call.content is not None and call.headers is not None:
            answer = self._rest.request(call.method, path, self._resolved(call.content).encode(), call.headers)
        elif call.content is not None:
            answer = self._rest.send(call.method, path, self._resolved(call.content).encode())
        elif call.method == "GET":
            query = urlencode(body or {}, doseq=True)
            answer = self._rest.request("GET", f"{path}?{query}" if query else path)
        else:
            answer = self._rest.send(call.method, path, body)
        if answer.status == 200 and call.learns:
            for name, where in call.learns.items():
                self._learn(name, answer.body, where)
        return answer

    def _learn(self, name: str, body: Any, where: tuple[str, ...]) -> None:
        for part in where:
            body = body.get(part) if isinstance(body, dict) else None
        self._meanings.pop(name, None)
        if body is not None:
            self._meanings[name] = str(body)
            self.names[str(body)] = name

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value.replace("{salt}", self._salt)
            return _NAME.sub(lambda found: self._meanings.get(found[0], NOTHING.get(found[1], "")), value)
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        if isinstance(value, dict):
            return {key: self._resolved(item) for key, item in value.items()}
        return value
