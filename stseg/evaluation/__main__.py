"""`python -m stseg.evaluation score | compare | report`, see `stseg score --help`."""

import sys

from stseg.evaluation import evaluation_command

if __name__ == "__main__":
    sys.exit(evaluation_command())
