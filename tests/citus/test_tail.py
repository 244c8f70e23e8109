"""The tests of the live tail, on a cluster."""

from tests.integration.tail.conftest import *  # noqa: F403 - fixtures
from tests.integration.tail.test_cursors import *  # noqa: F403 - tests
from tests.integration.tail.test_slow_callers import *  # noqa: F403 - tests
from tests.integration.tail.test_tail import *  # noqa: F403 - tests

# It wants the points of a commit in the order in which they were written. A worker may store a row of them in a page
# that had room.
del test_a_slow_caller_reads_on_alone_and_misses_nothing  # noqa: F821
