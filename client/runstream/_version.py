"""The version of this runstream."""

# Also in pyproject.toml. (importlib.metadata reads it there, and imports a dozen modules for that.)
VERSION = "0.1.0"
