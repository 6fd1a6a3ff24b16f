#!/usr/bin/env python
"""Train, resume, evaluate or adapt a model: ``python train_net.py --help`` shows examples.

`stseg train | evaluate | adapt` do the same wherever the package is installed.
"""

from stseg.engine import train_command

if __name__ == "__main__":
    train_command()
