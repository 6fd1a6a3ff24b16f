"""The earlier name of `python -m stseg.tools.export`, which goes on working."""

from stseg.tools.export import export_weights, main

__all__ = ["export_weights"]

if __name__ == "__main__":
    main()
