"""`flow`, and `python -m flowgraph`. What takes time to import is imported when Ctrl-C can't show a traceback any more."""

from flowgraph.interrupts import leave_at_once


def main() -> None:
    """The console script."""
    leave_at_once()
    from flowgraph.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
