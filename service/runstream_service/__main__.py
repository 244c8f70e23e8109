"""`python -m runstream_service` is `runstream`."""

from runstream.cli import main

main()
