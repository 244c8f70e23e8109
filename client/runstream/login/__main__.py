"""`python -m runstream.login`; with --out it logs out."""

import sys

from runstream.login.command import main

if __name__ == "__main__":
    sys.exit(main())
