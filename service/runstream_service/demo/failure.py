"""The error that ends a demo with exit code 1."""

from __future__ import annotations


class DemoFailed(Exception):
    """The demo failed; the message for the terminal says why."""
