r"""Images and labels of the small world, drawn here.

    python datasets/prepare_scripts/prepare_small_world.py --out DIR

See --help for the flags, datasets/README.md for the layout.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stseg.small_world import small_world_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(small_world_command())
