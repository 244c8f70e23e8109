"""`runstream status`: looks at the database that all replicas share, and shows what an operator asks first."""
