"""`runstream status`: reads the database that all replicas share, and shows the state of the service."""
