"""The machine that this runs on: cores, processes, caches, and what is installed."""

__version__ = "0.1.0"
"""Of this package."""
