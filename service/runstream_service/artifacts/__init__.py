"""Artifacts, the files of runs and models: in a directory, or in a bucket of S3, GCS or Azure.

    paths.py            the names that files may have, and where MLflow's URIs point
    directory.py        what a local directory needs and a bucket does not: links that lead out, fsync
    uploads.py          how many uploads at a time, and which one makes room for another
    store.py            the store: reads, writes, lists and deletes files, all of it streamed
    files_of_caller.py  the store as a caller may use it; front ends have no other way to a file

Nothing outside of this package uses `obstore`, except the sources of imports.
"""
