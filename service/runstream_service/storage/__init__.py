"""Everything that talks to PostgreSQL: the embedded server, the connections, the migrations."""
