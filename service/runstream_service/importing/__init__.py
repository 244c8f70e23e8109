"""`runstream import`: copies the runs of another tracker into the service, with their ids and times. It is a client of
the service.

    source.py -> one of mlflow_sql.py (a database), mlflow_http.py (a server), mlflow_files.py (mlruns),
                 wandb_files.py (wandb_records.py), trackio_files.py (both: runs_on_disk.py)
              -> importer.py, runs in parallel threads -> target.py, append.py -> the service

    records.py        the types in which sources return experiments, runs, points, models and files
    source.py         the interface of a source; opens the source at an address
    databases.py      SQLite and PostgreSQL behind one interface; mlflow_models.py: models in a database of MLflow
    mlflow_registry_files.py  the registry below mlruns
    source_files.py   reads artifact files at their URIs
    columns.py        collects points that a source has row by row into columns, one set for each metric
    runs.py, files.py, models.py  import what their names say; stored_points.py: which points the service already has
    http.py           JSON over HTTP, for both sides
    progress.py       counts and problems; report.py shows them
    verify.py         compares everything in the source with the service

An import keeps no state of its own: the service has what was imported so far. So a second call changes nothing, and
after a kill the same call, also from another machine, continues.

Each point is stored once, because of three rules:

1. A run's points come from one producer, whose id is derived from the run's. Opening it fences the earlier process with
   this producer: if that was killed, batches of it may still be on their way, and none of them is stored from then on.
2. Then the points that the run already has are read, and left out of what is sent. A point that the source has twice is
   left out as often as it is stored. A run without points, as every run in a first import, is not read.
3. Batches are acknowledged after their commit. After any failure, all three steps are repeated for that run.
"""
