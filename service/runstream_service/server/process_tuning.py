"""Settings of the allocator, the interpreter and the garbage collector, made when the process starts: they keep its
memory from growing, and its event loop from waiting."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from collections.abc import Iterator

# Parameters of glibc's function mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
_MMAP_BYTES = 1 << 20
_TRIM_BYTES = 4 << 20
_MOST_FILES = 1 << 20
# Python's default is 5 ms. The event loop needs the interpreter after each wait for the network, several times for one
# acknowledgement, and a thread that reads a big request keeps it for this long each time.
_SWITCH_S = 0.001
# A collection of this many objects takes about a millisecond.
_NEW_OBJECTS_PER_COLLECTION = 10_000


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Switches garbage collection off in the block. Use it around imports, which create many objects and no garbage:
    collections took a tenth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def before_start() -> None:
    """Sets up the allocator, the limit of open files, and how long a thread keeps the interpreter. Call it before there
    are other threads.

    By default every thread gets a separate heap, and after an array of up to 32 MiB was freed, arrays of that size are
    put into these heaps. Free memory there cannot be used by other threads or by the system. Measured in the storage
    benchmark: 190 to 250 MB after a load that needs 120.
    """
    with contextlib.suppress(AttributeError, OSError):  # a C library other than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    raise_file_limit()
    sys.setswitchinterval(_SWITCH_S)


def raise_file_limit() -> None:
    """Raises the limit of open files as far as the system allows. Each client has a connection, and often only 1,024
    files are allowed by default, for the sake of programs that use select(). This program does not use it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    with contextlib.suppress(ValueError, OSError):  # a system with a lower limit: the current one stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))


def after_start() -> None:
    """Makes garbage collections short and rare; call it when everything has started. Objects that exist by then, and
    live as long as the service, are excluded: with them a full collection took 25 ms. The threshold is raised, since
    little garbage is in cycles, and batches that wait for their commit are many new objects: with Python's threshold of
    700, collections took 3 to 9 % of the processor time of ingest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS_PER_COLLECTION)
