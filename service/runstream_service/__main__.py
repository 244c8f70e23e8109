"""`python -m runstream_service` is `runstream`."""

from runstream_service.cli import main

main()
