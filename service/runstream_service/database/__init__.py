"""Everything that talks to PostgreSQL, in the order of the calls at startup.

embedded.py              a PostgreSQL of our own, in the data directory
postgres_files.py        its files, processes and the account that it runs as
external.py              a PostgreSQL that a URL names: waits for it, checks that it is suitable
pooler.py                whether there is a connection pooler on the way, and whether it keeps sessions
database_url.py          the URL -> servers and parameters
url_parameters.py        the parameters that a URL may have
pool.py                  the pool, the other connections, and the translation of the driver's exceptions
effects.py               whether a failed request may have had effects
failover.py              connects to the server of the URL that takes writes
connections.py           kinds of connections: settings, timeouts, keepalive
tls.py                   says what is wrong when TLS fails
replica.py               the names of connections, by which replicas know each other
suspects.py              connections over which nothing arrives any more
dedicated_connection.py  the connection of a writer or of roll-up, outside the pool
commit_notifier.py       NOTIFY after a commit, LISTEN for the commits of all replicas
migrate.py               applies the migrations of migrations/
requirements.py          what a database must fulfil before it is migrated
layout.py                whether the tables of points are in one PostgreSQL or distributed over a Citus cluster
definitions.py           the current SQL functions and views, in functions/ and views/
distribute.py            `runstream distribute`: moves the tables of points to the workers of a Citus cluster
queries/                 the SQL of the core, of the reads and of retention, by name
copy_rows.py             rows of COPY BINARY -> columns
metric_values.py         how NaN is compared, and what stands for the infinities in MLflow
times.py                 microseconds since 1970 <-> the driver's datetimes
"""
