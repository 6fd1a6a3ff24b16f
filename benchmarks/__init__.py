"""Measurements of speed, memory and quality; each prints a table and says how to run it.

A command parses its arguments first and imports torch, Detectron2 and the rooms of stseg after
that, so that --help and a mistake are answered at once.
"""

import stseg  # noqa: F401  before what loads torch: it sets how threads wait
