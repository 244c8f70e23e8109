"""The plugin for MLflow's client: metrics, params and tags go through the journal, everything else over HTTP.

builders.py        called by the entry points in runstream_mlflow
address.py         tracking URI -> gRPC address and HTTP URL
credentials.py     token and workspace for both
artifacts.py       the same credentials for MLflow's repository of files
tracking_store.py  MLflow's RestStore, whose writes go to the journal, and whose reads wait for them
entries.py         MLflow's checks of metrics, params and tags
known_runs.py      which runs exist, and with which params, so that errors are raised where MLflow raises them
sink.py            the interface for writes
journal_sink.py    its implementation: a journal for each run
"""
