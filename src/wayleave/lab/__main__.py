"""`python -m wayleave.lab sweep` removes what killed labs left; `demo` is the demo."""

from __future__ import annotations

import sys

from wayleave.lab.topology import sweep


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit status."""
    match arguments:
        case ["sweep"]:
            for name in sweep():
                print(f"removed {name}")
            return 0
        case _:
            print("usage: python -m wayleave.lab sweep", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
