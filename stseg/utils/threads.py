"""How the threads of a computation wait for one another, where the machine is not theirs alone."""

import os
import sys

#: Rounds that a thread of GNU's OpenMP turns before it sleeps, in the place of its own default of
#: milliseconds. It wastes less where others want the processors: beside two busy programs on two
#: cores 150 names take half as long, and 5 % longer where nothing else runs; see
#: projects/STSeg/README.md, "Busy machines".
SPIN_COUNT = "10000"

#: What a user may have said about it already.
_SAID = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def share_processors() -> None:
    """Set the default where the user has said nothing and torch, which reads it, is not loaded."""
    if "torch" not in sys.modules and not any(name in os.environ for name in _SAID):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
