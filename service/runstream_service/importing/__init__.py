"""`runstream import`: brings what another tracking server has, with its ids and times. A client of the service.

    source.py -> one of mlflow_sql.py (a database), mlflow_http.py (a server), mlflow_files.py (mlruns),
                 wandb_files.py (wandb_records.py), trackio_files.py (both: runs_on_disk.py)
              -> importer.py, one run after the other in some threads -> target.py, append.py -> the service

Nothing is remembered here between two calls: how far an import has come is what the service has. So a second call
changes nothing, one that was killed is started again, and one from another machine goes on as well.

Points are written once for this reason:

1. A run's points come from one producer, whose id is derived from the run's. Its Open fences whoever held it: a process
   that was killed may still have batches on their way, and none of them is stored after this.
2. Then the points that the run has by now are read, and left out of what is sent, one for one. A run that has none,
   as every run of a first import, is not read.
3. What is sent is acknowledged after its commit. After any failure, all of this begins anew for that run.
"""
