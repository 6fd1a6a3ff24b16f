"""Measurements of speed, memory and quality; each prints a table and says how to run it."""
