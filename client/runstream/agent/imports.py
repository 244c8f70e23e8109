"""Makes the imports of the agent's own process cheaper: most of the processor time of its start is spent in them."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

# What gRPC and protobuf import although the agent does not use it: asyncio is for gRPC's other interface, and
# python_message for messages that are not in C. Loading them took a third of the processor time of the agent's start.
_RARELY_USED = frozenset({"asyncio", "grpc.aio", "google.protobuf.internal.python_message"})


class LazyFinder:
    """A finder for `sys.meta_path`: loads the modules above when something of them is used, and not when they are
    imported."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's specification with a lazy loader; None for all other modules."""
        if name not in _RARELY_USED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def load_lazily() -> None:
    """From now on, modules that the agent rarely needs are loaded when they are used. For a process whose only thread
    that may use them is the one that imports them."""
    sys.meta_path.insert(0, LazyFinder)


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A block that imports modules. They are no garbage, so looking for some takes time and finds nothing, neither in
    the block nor later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
