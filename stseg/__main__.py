"""`python -m stseg SUBCOMMAND`, the same as `stseg SUBCOMMAND`."""

import sys

from stseg.cli import stseg_command

if __name__ == "__main__":
    sys.exit(stseg_command())
