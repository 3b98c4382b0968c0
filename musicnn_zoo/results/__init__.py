"""What the models say: small typed objects that print well and convert to plain data."""

from __future__ import annotations

from musicnn_zoo.results.clip import Clip
from musicnn_zoo.results.embedding import Embedding, Features
from musicnn_zoo.results.events import Events
from musicnn_zoo.results.file_result import FileResult, Result
from musicnn_zoo.results.taggram import Taggram
from musicnn_zoo.results.tags import Tags, TagScore

__all__ = [
    "Clip",
    "Embedding",
    "Events",
    "Features",
    "FileResult",
    "Result",
    "TagScore",
    "Taggram",
    "Tags",
]
