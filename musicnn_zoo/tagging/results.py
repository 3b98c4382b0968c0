"""What came of one file among many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class FileResult(Generic[Result]):
    """What came of one file among many.

    Parameters
    ----------
    source : str or None
        File name; None for an array.
    value : Tags, Taggram, Events, Embedding or Features; None if the file could not be used
    error : Exception or None
        Why it could not.
    """

    source: str | None
    value: Result | None
    error: Exception | None = None

    def unwrap(self) -> Result:
        """Return the value, or raise the error."""
        if self.value is None:
            raise self.error or ValueError("neither a value nor an error")
        return self.value
