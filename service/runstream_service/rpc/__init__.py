"""gRPC: decodes, calls the core, encodes."""
