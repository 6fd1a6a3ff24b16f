r"""Label maps of COCO-Stuff 164k, and of its 156 seen classes for zero-shot training.

    python datasets/prepare_scripts/prepare_coco_stuff.py --root DIR --jobs 8

See --help for the official download and the flags, datasets/README.md for the layout.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stseg.tools.preparation import (
    COCO_STUFF,  # noqa: E402
    main,  # noqa: E402
)

if __name__ == "__main__":
    sys.exit(main(COCO_STUFF))
