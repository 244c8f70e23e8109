"""`runstream import`: brings what another tracking server has, with its ids and times. A client of the service.

    source.py -> one of mlflow_sql.py (a database), mlflow_http.py (a server), mlflow_files.py (mlruns),
                 wandb_files.py (wandb_records.py), trackio_files.py (both: runs_on_disk.py)
              -> importer.py, one run after the other in some threads -> target.py, append.py -> the service

    records.py        what sources bring
    source.py         what a source can do, and the way from its address to it
    databases.py      SQLite and PostgreSQL behind one interface; mlflow_models.py: models in a database of MLflow
    mlflow_registry_files.py  the registry below mlruns
    source_files.py   files where their URIs lead
    columns.py        points that come row by row, kept metric by metric
    runs.py, files.py, models.py  bring what their names say; stored_points.py: what the service has of a series already
    http.py           JSON over HTTP, for both sides
    progress.py       counts and problems; report.py shows them
    verify.py         compares everything with what the service has

Nothing is remembered here between two calls: how far an import has come is what the service has. So a second call
changes nothing, one that was killed is started again, and one from another machine goes on as well.

Points are written once for this reason:

1. A run's points come from one producer, whose id is derived from the run's. Its Open fences whoever held it: a process
   that was killed may still have batches on their way, and none of them is stored after this.
2. Then the points that the run has by now are read, and left out of what is sent, one for one. A run that has none,
   as every run of a first import, is not read.
3. What is sent is acknowledged after its commit. After any failure, all of this begins anew for that run.
"""
