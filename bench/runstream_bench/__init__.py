"""`runstream bench`: what the service reaches on this machine, and what COPY alone reaches in the same run.

What most benchmarks use:

    cli.py             the options of the command
    command.py         the flow: rounds, then the report
    session.py         the PostgreSQL, the service and the rounds
    service.py         a service on a temporary PostgreSQL
    server_process.py  servers in processes of their own: the service, and those of others; the tests use it, too
    load.py            streams that push points and count what was acknowledged; load_process.py: in another process
    raw_copy.py        the yardstick
    usage.py           processor time and bytes written
    paired.py          two kinds of service under the same load in turns
    progress.py        what a long benchmark says while it runs
    report.py          one JSON object, one table
    http_client.py     requests outside of measured loads, and those of the tests; raw_http.py: as little as possible

Without an option, besides the load: log_cost.py (what log() costs its caller), metrics_cost.py (what counting costs, by
the calls that counted.py counts), and tail_latency.py with tail_producer.py.

Each of these is one option, or a tool for one:

    client_command.py  --client: client_trainer.py its processes, client_places.py where they run, client_peers.py the
                       clients of other trackers
    workers.py         --workers: many training workers
    serve_workers.py   --serve-workers: a service of several processes
    storage.py         --storage: storage_data.py its points, storage_reads.py, read_process.py, yardsticks.py,
                       rollup_cost.py
    mlflow_command.py  --mlflow: mlflow_servers.py, mlflow_fill.py, mlflow_load.py, mlflow_reads.py, mlflow_writes.py
    open_pages.py      --page: event_reader.py reads events
    faults.py          --faults: fault_parts.py what it does that to, fault_clients.py the load, fault_rounds.py;
                       flapping.py and tcp_proxy.py (of the tests, too) are faults of the network
    durability/        --durability: other trackers, under the same faults
    fairness.py        --fairness: one workspace overloads the service
    auth_cost.py       --auth: what it costs to ask who calls
    tls_cost.py        --tls: what TLS costs
    dropping.py        a service that stores nothing: the cost of messages alone
"""
