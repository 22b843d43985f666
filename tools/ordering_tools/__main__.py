"""The `ordering` command as a process: Ctrl-C ends it without a traceback, also while its modules are imported."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""The exit code that shells give a command that Ctrl-C ended."""


def main() -> int:
    """Run the command in the process's arguments, and return its exit code."""
    try:
        # Imported here: importing takes longer than most commands.
        from ordering_tools import cli  # noqa: PLC0415 - as above

        return cli.main()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
