"""Sphinx extension: the Mermaid flow charts of the pages as HTML, without a script to load.

A code host draws a block of ``mermaid``. The charts here are trees from left to right
(``flowchart LR``, boxes ``a["text"]``, questions ``a{"text"}``, arrows ``a --> b`` and
``a -->|"answer"| b``), and a tree is a nested list: read out by a screen reader, drawn by
``static/flowcharts.css``. Anything else in a block is an error.
"""

import html
import re
from collections import defaultdict
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

_BOX = r'(\w+)(?:\["([^"]*)"\]|\{"([^"]*)"\})?'
_LINE = re.compile(rf'{_BOX}(?: -->(?:\|"([^"]*)"\|)? {_BOX})?')


class Flowcharts(SphinxTransform):
    """Replace blocks of Mermaid by lists."""

    default_priority = 200

    def apply(self, **_: Any) -> None:
        """Replace those of one page."""
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") == "mermaid":
                block.replace_self(nodes.raw("", as_html(block.astext()), format="html"))


def as_html(chart: str) -> str:
    """Return a chart as nested lists.

    Raises
    ------
    ValueError
        If the chart has something that is not known here, or is no tree.
    """
    head, *lines = chart.strip().splitlines()
    if head.strip() != "flowchart LR":
        raise ValueError(f"a chart must begin with 'flowchart LR'; received {head!r}")
    texts: dict[str, str] = {}
    questions: set[str] = set()
    children: dict[str, list[tuple[str, str]]] = defaultdict(list)
    below: set[str] = set()
    for line in lines:
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"cannot be read in a chart: {line!r}")
        start, box, question, answer, end, end_box, end_question = found.groups()
        for name, text, asked in ((start, box, question), (end, end_box, end_question)):
            if name and (text or asked):
                texts[name] = text or asked
            if asked:
                questions.add(name)
        if end:
            if end in below:
                raise ValueError(f"{end!r} has two arrows to it: no tree")
            below.add(end)
            children[start].append((answer or "", end))
    (root,) = (name for name in texts if name not in below)

    def item(name: str, answer: str) -> str:
        lines = (html.escape(line) for line in texts[name].split("<br/>"))
        kind = "question" if name in questions else "box"
        said = f'<span class="answer">{html.escape(answer)}</span> ' if answer else ""
        inner = "".join(item(child, label) for label, child in children[name])
        rest = f"<ul>{inner}</ul>" if inner else ""
        node = f'<div>{said}<span class="{kind}">{"<br>".join(lines)}</span></div>'
        return f"<li>{node}{rest}</li>"

    return f'<div class="flowchart"><ul>{item(root, "")}</ul></div>'


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_transform(Flowcharts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
