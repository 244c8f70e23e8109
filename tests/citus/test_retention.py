"""The tests of purge and retention, on a cluster."""

from tests.integration.test_retention import *  # noqa: F403 - tests

# They make triggers, which a distributed table does not take.
del test_an_experiment_whose_retention_fails_does_not_stop_the_next_one  # noqa: F821
del test_a_purge_that_always_fails_keeps_nothing_else_from_being_done  # noqa: F821
