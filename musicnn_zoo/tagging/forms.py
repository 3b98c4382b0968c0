"""Forms that results take: numbers of JSON, data frames, tables of a notebook."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from musicnn_zoo.errors import MissingPackageError


def plain_floats(values: Any) -> Any:
    """Turn float32 into the shortest Python floats that give the same float32 back."""
    if isinstance(values, np.ndarray) and values.ndim:
        return [plain_floats(value) for value in values]
    return float(str(np.float32(values)))


def require_pandas() -> Any:
    """Import pandas, which is not among the requirements."""
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError("to_pandas needs pandas: pip install pandas") from error
    return pandas


def html_table(caption: str, head: list[str], rows: list[list[str]]) -> str:
    """Write a table as HTML, with what stands in it escaped."""

    def cells(tag: str, values: list[str]) -> str:
        return "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f"<table><caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"
    )
