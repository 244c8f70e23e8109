"""The tests of roll-up and of merges, on a cluster."""

from tests.integration.rollup.conftest import env  # noqa: F401 - a fixture
from tests.integration.rollup.test_kills import *  # noqa: F403 - tests
from tests.integration.rollup.test_long_readers import *  # noqa: F403
from tests.integration.rollup.test_merge import *  # noqa: F403
from tests.integration.rollup.test_steps import *  # noqa: F403
from tests.integration.rollup.test_two_replicas import *  # noqa: F403

# The workers plan their parts, and do so by their own settings.
del test_no_statement_reads_whole_tables_also_before_the_first_analyze  # noqa: F821
# They use statements and triggers that a distributed table does not take.
del test_an_epoch_with_other_points_than_were_acknowledged_is_kept_as_it_is  # noqa: F821
del test_a_merge_that_does_not_find_all_points_changes_nothing  # noqa: F821
# It goes through the whole cycle some fifty times, which takes minutes here; the others kill at random.
del test_a_kill_after_any_statement_of_the_whole_cycle_harms_nothing  # noqa: F821
