"""Where environments that were made before the command moved to the client find it."""

from runstream.cli import main as main
