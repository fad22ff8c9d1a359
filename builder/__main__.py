"""Lets ``python -m builder`` run the same command as ``ocbuild``."""

import sys

from builder.cli import program

if __name__ == "__main__":
    sys.exit(program())
