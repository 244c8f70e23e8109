"""MLflow's API on the loopback interface of a training machine: `runstream agent --mlflow-listen 127.0.0.1:5000`.

    port.py      the server, in a thread of the agent
    callers.py   who calls: each caller's writes are sent with its own token
    sink.py      writes what is logged to a run into the agent's journals
    journals.py  one journal for each run; writes that arrive together share a sync to disk
    upstream.py  passes everything else on to the service
    command.py   the entry point for the agent

A request that logs something is answered when that is on disk, so scripts keep logging while the service is away. The
port needs the extra [server], whose parsing and checks it uses.
"""
