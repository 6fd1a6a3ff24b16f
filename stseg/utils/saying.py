"""What commands tell on the screen."""

import sys


def say(text: str, end: str = "\n") -> None:
    """Write a line to the screen at once; what it cannot show, such as a file name, is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write((text + end).encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()
