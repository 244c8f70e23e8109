"""The plugin for MLflow's client: metrics, params and tags go through the journal, everything else over HTTP.

builders.py        what the entry points in runstream_mlflow call
credentials.py     token and workspace over both; the files of artifacts.py have them, too
address.py         tracking URI -> address over gRPC and address over HTTP
tracking_store.py  MLflow's RestStore with its writes replaced, and its reads behind them
entries.py         MLflow's checks of metrics, params and tags
known_runs.py      which runs exist, and with which params, so that errors are raised where MLflow raises them
sink.py            where the writes go: an interface, and
journal_sink.py    a journal for each run
"""
