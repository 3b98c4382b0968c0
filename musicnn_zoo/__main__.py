"""``python -m musicnn_zoo`` is the command ``musicnn-zoo``."""

import atexit
import os
import sys


def main() -> None:
    """Run the command; Ctrl+C ends it in one line even while it is being imported."""
    try:
        from musicnn_zoo.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped by Ctrl+C\n")
        sys.exit(130)
    except SystemExit as end:
        if isinstance(end.code, int):
            _end(end.code)
        raise


def _end(code: int) -> None:
    """End at once, without taking down module by module what the operating system frees anyway.

    Where the last lines cannot be written, nothing is done: Python will say so.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            return
    os._exit(code)


if __name__ == "__main__":
    main()
