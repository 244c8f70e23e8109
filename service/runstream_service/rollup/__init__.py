"""How hot batches become segments, in the order of the calls. docs/storage.md says why the steps are in this order.

loop.py          repeats all steps for as long as the service runs; a step that fails is tried again
measurements.py  how far roll-up is behind, and how much disk the tables take
epochs.py        closes and seals an epoch, publishes it when it is rolled up
rollup.py        turns the batches of a sealed epoch into segments and latest values
partitions.py    drops partitions that no reader needs any more
merge.py         merges small segments into large ones
metrics.py       Prometheus metrics of roll-up
"""
