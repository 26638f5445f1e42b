"""`python -m deepgraph` is the command `deepgraph`."""

import sys

from deepgraph.cli import main

if __name__ == "__main__":
    sys.exit(main())
