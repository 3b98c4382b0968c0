"""Sphinx extension: a link to a file of the repository leads to a page of the site that shows it.

On a code host a link such as ``../musicnn_zoo/networks/logmel.py`` opens the file. On the site it
would be a download, or a folder nothing at all; here both get a page of their own below
``source/``. Notebooks are left as downloads.
"""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parent.parent
LANGUAGES = {".py": "python", ".json": "json", ".md": "markdown", ".toml": "toml", ".csv": "text"}


class LinksToSource(SphinxTransform):
    """Replace links to files outside the pages, once a page has been read."""

    default_priority = 200

    def apply(self, **_: Any) -> None:
        """Replace them and remember what they lead to."""
        here = Path(self.env.doc2path(self.env.docname)).parent
        wanted = self.env.source_files.setdefault(self.env.docname, set())
        kinds = (addnodes.download_reference, addnodes.pending_xref)
        for link in list(self.document.findall(lambda node: isinstance(node, kinds))):
            target = str(link.get("reftarget", "")).partition("#")[0]
            if link.get("reftype") != "myst" or not target:
                continue
            if link.get("refdomain") == "doc":  # what MyST makes of the name of any Markdown file
                target = f"{Path(self.env.srcdir, target)}.md"
            path = (here / target).resolve()
            shown = path.suffix in LANGUAGES or path.is_dir() or path.name.startswith("LICENSE")
            if not (shown and path.exists() and path.is_relative_to(ROOT)):
                continue
            if path.is_relative_to(ROOT / "docs") and path.suffix == ".md":
                continue
            name = path.relative_to(ROOT).as_posix()
            wanted.add(name)
            uri = self.app.builder.get_relative_uri(self.env.docname, page_of(name))
            inner = nodes.inline("", "", *(child.deepcopy() for child in link.children))
            link.replace_self(nodes.reference("", "", inner, internal=True, refuri=uri))


def page_of(name: str) -> str:
    """Name of the page that shows a file or a folder of the repository."""
    return f"source/{name}"


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the pages of all files that are linked to, and of the files of linked folders."""
    names = set().union(*app.env.source_files.values())
    folders = {name for name in names if (ROOT / name).is_dir()}
    for folder in sorted(folders):
        files = [path.name for path in sorted((ROOT / folder).glob("*.py"))]
        names |= {f"{folder}/{file}" for file in files}
        items = "".join(
            f'<li><a href="{html.escape(Path(folder).name)}/{html.escape(file)}.html">'
            f"<code>{html.escape(file)}</code></a></li>"
            for file in files
        )
        yield page_of(folder), _context(folder, f"<ul>{items}</ul>"), "page.html"
    for name in sorted(names - folders):
        text = (ROOT / name).read_text(encoding="utf-8")
        language = LANGUAGES.get(Path(name).suffix, "text")
        shown = app.builder.highlighter.highlight_block(text, language)  # type: ignore[attr-defined]
        yield page_of(name), _context(name, shown), "page.html"


def _context(name: str, body: str) -> dict[str, Any]:
    title = html.escape(name)
    return {"title": title, "body": f"<h1><code>{title}</code></h1>{body}"}


def _begin(app: Sphinx, env: Any, _: Any) -> None:
    del app
    if not hasattr(env, "source_files"):
        env.source_files = {}


def _forget(app: Sphinx, env: Any, docname: str) -> None:
    del app
    getattr(env, "source_files", {}).pop(docname, None)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_transform(LinksToSource)
    app.connect("env-before-read-docs", _begin)
    app.connect("env-purge-doc", _forget)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
