"""What ends the life of points: deleted series and runs are purged, old points of experiments are deleted.

Everything happens in chunks, each a short transaction, and any replica may do each: row locks make it one.
"""
