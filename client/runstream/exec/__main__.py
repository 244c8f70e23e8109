"""`python -m runstream.exec`."""

import sys

from runstream.exec.command import main

if __name__ == "__main__":
    sys.exit(main())
