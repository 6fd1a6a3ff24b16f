#!/usr/bin/env python3
"""Segment images, folders or videos with any vocabulary: `stseg predict` in a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stseg.tools.prediction import prediction_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(prediction_command(program="demo.py"))
