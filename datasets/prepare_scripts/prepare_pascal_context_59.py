r"""Label maps of PASCAL-Context-59, and of its 49 seen classes for zero-shot training.

    python datasets/prepare_scripts/prepare_pascal_context_59.py --root DIR --jobs 8

See --help for the official download and the flags, datasets/README.md for the layout.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stseg.tools.preparation import (
    PASCAL_CONTEXT_59,  # noqa: E402
    main,  # noqa: E402
)

if __name__ == "__main__":
    sys.exit(main(PASCAL_CONTEXT_59))
