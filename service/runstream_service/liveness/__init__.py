"""Which runs somebody still works on: runs whose producers are gone are ended, and run again when one comes back.

A training that is killed cannot say so. What is known of it is that no replica has a stream of it and that nothing is
committed; after `--silent-run-after` of that the run is ended as killed, at its last sign of life.
"""
