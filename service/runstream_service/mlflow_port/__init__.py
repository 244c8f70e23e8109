"""MLflow's API on the loopback interface of a training machine: `runstream agent --mlflow-listen 127.0.0.1:5000`.

    port.py      the server, in a thread of the agent
    callers.py   who calls: each caller's writes are sent with its own token
    sink.py      what is logged to a run -> the agent's journals
    journals.py  one journal for each run; writes that come at the same time share a sync
    upstream.py  everything else -> the service
    command.py   what the agent calls

What is logged is answered when it is on disk, so it does not matter to a script whether the service is there. It needs
the extra [server], with whose parsing and checks it answers.
"""
