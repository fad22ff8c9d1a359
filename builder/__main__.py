"""Lets ``python -m builder`` run the same command as ``ocbuild``."""

import sys

from builder.cli import main

if __name__ == "__main__":
    sys.exit(main())
