"""The earlier name of `python -m stseg.tools.name_similarity`, which goes on working."""

import sys

from stseg.tools.name_similarity import main

if __name__ == "__main__":
    sys.exit(main())
