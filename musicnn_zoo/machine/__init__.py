"""The machine that this runs on: cores, processes, caches, and what is installed."""
