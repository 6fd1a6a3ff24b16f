"""`python -m stseg.data verify | show`, see `stseg.tools.data_commands`."""

import sys

from stseg.tools import data_command

if __name__ == "__main__":
    sys.exit(data_command())
