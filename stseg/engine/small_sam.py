"""The earlier name of `python -m stseg.small_world.sam_training`, which goes on working."""

import sys

from stseg.small_world.sam_training import main

if __name__ == "__main__":
    sys.exit(main())
