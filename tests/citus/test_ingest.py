"""The tests of the group commit, on a cluster."""

from tests.integration.ingest.conftest import *  # noqa: F403 - fixtures
from tests.integration.ingest.test_group_commit import *  # noqa: F403 - tests

# It makes a trigger, which a distributed table does not take.
del test_a_batch_that_fails_for_an_unknown_reason_stops_only_its_own_stream  # noqa: F821
