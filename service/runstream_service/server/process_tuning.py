"""Settings of the process itself, made at its start, so that its memory stays flat and its event loop free."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from collections.abc import Iterator

# glibc's mallopt.
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
    """For imports: what modules define is no garbage, and looking for some took a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def before_start() -> None:
    """Sets limits of the allocator and of threads; to be called before there are threads.

    By default every thread gets a separate heap, and after an array of up to 32 MiB was freed, arrays of that size are
    put into these heaps. Free memory there cannot be used by other threads or by the system. Measured in the storage
    benchmark: 190 to 250 MB after a load that needs 120.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library, without this function
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    raise_file_limit()
    sys.setswitchinterval(_SWITCH_S)


def raise_file_limit() -> None:
    """Raises the limit of open files. Each client has a connection, and often only 1,024 files are allowed, for the
    sake of programs that use select(). A program that does not use it may raise its own limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    with contextlib.suppress(ValueError, OSError):  # a system with a lower limit: the current one stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))


def after_start() -> None:
    """Makes garbage collections short and rare. Objects that live as long as the service are excluded: a full
    collection took 25 ms. And there is little garbage in cycles, while batches that wait for their commit are many new
    objects: with Python's threshold of 700, collections took 3 to 9 % of the processor time of ingest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS_PER_COLLECTION)
