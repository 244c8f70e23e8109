"""`python -m runstream.doctor`."""

import sys

from runstream.doctor.command import main

if __name__ == "__main__":
    sys.exit(main())
