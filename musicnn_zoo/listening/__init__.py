"""The listening page: see a taggram, and hear whether it is right."""

from __future__ import annotations

from musicnn_zoo.listening.page import ListeningPage, listening_page

__all__ = ["ListeningPage", "listening_page"]
