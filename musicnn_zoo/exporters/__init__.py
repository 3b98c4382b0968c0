"""Formats that a model can be exported to, one a module."""
