"""The list of several recordings with their tags, in which one searches, and the ways between."""

from __future__ import annotations

import html
import string
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from musicnn_zoo.listening.page import source_digest
from musicnn_zoo.text import printable
from musicnn_zoo.web.scripts import read_asset


class Listed(NamedTuple):
    """A recording in a list: its page, its name, and its tags as far as they are known."""

    href: str
    name: str
    tags: Sequence[tuple[str, float]] | None = None
    model: str = ""


def list_page(recordings: Sequence[Listed], *, note: str = "") -> str:
    """Return a list of recordings as HTML; it loads nothing from a network."""
    script = read_asset("listening/index.js")
    models = dict.fromkeys(each.model for each in recordings if each.model)
    tagged = f"Tags of {', '.join(map(printable, models))}." if models else ""
    return string.Template(read_asset("listening/index.html")).substitute(
        policy=(
            f"default-src 'none'; script-src {source_digest(script)}; style-src 'unsafe-inline'; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        script=script,
        count=len(recordings),
        note=html.escape(" ".join(filter(None, (note, tagged)))),
        items="".join(map(_item, recordings)),
    )


def _item(recording: Listed) -> str:
    tags = "".join(_tag(tag, score) for tag, score in recording.tags or ())
    return (
        f'<li><a href="{html.escape(recording.href)}" dir="auto">'
        f"{html.escape(printable(recording.name))}</a> {tags}</li>"
    )


def _tag(tag: str, score: float) -> str:
    shown = html.escape(printable(tag))
    return f'<button type="button" value="{shown}">{shown} {score:.2f}</button> '


def navigation(place: str, before: Listed | None, after: Listed | None) -> str:
    """Return the links of a page as HTML: back, to the list, and on."""
    ways: Iterable[tuple[str, str, str, Listed | None]] = (
        ("prev", "← ", "", before),
        ("up", "", "", Listed(place, "All recordings")),
        ("next", "", " →", after),
    )
    links = " · ".join(
        f'<a rel="{kind}" href="{html.escape(to.href)}" dir="auto">'
        f"{left}{html.escape(printable(to.name))}{right}</a>"
        for kind, left, right, to in ways
        if to is not None
    )
    return f'<nav aria-label="Recordings">{links}</nav>'
