r"""Images and label maps of the full ADE20K, 847 classes, and 572 seen ones for zero-shot training.

    python datasets/prepare_scripts/prepare_ade20k_full.py --root DIR --jobs 8

See --help for the official download and the flags, datasets/README.md for the layout.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stseg.tools.preparation import (
    ADE20K_FULL,  # noqa: E402
    main,  # noqa: E402
)

if __name__ == "__main__":
    sys.exit(main(ADE20K_FULL))
