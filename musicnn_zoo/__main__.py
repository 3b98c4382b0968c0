"""``python -m musicnn_zoo`` is the command ``musicnn-zoo``."""

from musicnn_zoo.cli import main

main()
