"""`python -m runstream.login` and, with --out, the reverse."""

import sys

from runstream.login.command import main

if __name__ == "__main__":
    sys.exit(main())
