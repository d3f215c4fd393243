"""The program `flyball`, outside of the package: one that cannot be imported must not end with a verdict's code."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; 2 if it cannot even be loaded (no memory, a library that is missing or too old)."""
    try:
        from flyball.cli import main as run
    except (Exception, KeyboardInterrupt) as error:
        print(f"flyball: cannot start, {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return run()
