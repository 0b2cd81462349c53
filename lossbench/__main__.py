"""`python -m lossbench`, and what the console script calls."""

import sys

from lossbench.cli.main import run


def main() -> None:
    """Run the command line and end with its exit code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
