"""Why a demo ends with exit code 1."""

from __future__ import annotations


class DemoFailed(Exception):
    """Says in words for the terminal what went wrong."""
