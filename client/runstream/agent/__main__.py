"""python -m runstream.agent [run|status|sync|check]: for installations without the command `runstream`."""

import sys

from runstream.agent.imports import load_lazily, no_garbage_collection

load_lazily()
with no_garbage_collection():
    from runstream.agent.console import main

sys.exit(main(sys.argv[1:]))
