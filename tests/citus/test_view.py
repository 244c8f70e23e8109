"""The tests of the view, on a cluster."""

from tests.integration.test_view import *  # noqa: F403 - tests

# The plans are others on a cluster.
del test_hot_points_of_a_producer_are_found_by_an_index_and_unpacked_alone  # noqa: F821
del test_the_panel_has_the_documented_plan_and_its_sums  # noqa: F821
