"""Measurements of speed, memory and quality; each prints a table and says how to run it."""

import stseg  # noqa: F401  before what loads torch: it sets how threads wait
