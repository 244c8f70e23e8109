"""Files that runs and models keep: in a directory, or in a bucket of S3, GCS or Azure.

    paths.py            the names that files may have, and where MLflow's URIs point
    directory.py        what a local directory needs beyond what a bucket does: links that lead out, fsync
    uploads.py          how many uploads at a time, and which makes room for another
    store.py            the store: read, write, list, delete, all of it streamed
    files_of_caller.py  the only way of front ends to a file: what may this caller have?

`obstore` stays in this package.
"""
