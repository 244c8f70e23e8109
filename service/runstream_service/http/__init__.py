"""HTTP: decodes, calls the core, encodes."""
