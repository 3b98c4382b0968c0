"""``python -m musicnn_zoo`` is the command ``musicnn-zoo``."""

import sys


def main() -> None:
    """Run the command; Ctrl+C ends it in one line even while it is being imported."""
    try:
        from musicnn_zoo.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped by Ctrl+C\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
