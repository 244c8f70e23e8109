"""The tests of reads while points are moved, on a cluster."""

from tests.integration.test_reads_during_rollup import *  # noqa: F403 - tests
