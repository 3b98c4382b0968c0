"""Settings of the documentation site: ``sphinx-build -W --keep-going -n docs build/docs``."""

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import musicnn_zoo

sys.path.insert(0, str(Path(__file__).parent))

project = "musicnn-zoo"
version = release = musicnn_zoo.__version__
copyright = "the authors of musicnn-zoo, ISC licence"  # noqa: A001

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "flowcharts",
    "mathml",
    "source_pages",
]
root_doc = "index"
nitpicky = True
nitpick_ignore = [("py:class", "matplotlib.figure.Figure")]

# Anchors of headings are those of code hosts, so that one link serves both.
myst_heading_anchors = 4

# Types stand in the docstrings, in words; what is written there is not looked up as a name.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True}
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_preprocess_types = False

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"musicnn-zoo {version}"
html_static_path = ["static"]
html_css_files = ["flowcharts.css"]
html_copy_source = False
html_show_sphinx = False


def _types_are_words(app: Sphinx, what: str, *rest: Any) -> None:
    """Undo what napoleon makes of types: a field whose every word is looked up.

    It also takes the first line of a property, up to a colon, for one.
    """
    del app
    lines: list[str] = rest[-1]
    for index, line in enumerate(lines):
        margin, field, kind = line.partition(":type: ")
        if not field or margin.strip():
            continue
        if what in ("attribute", "data", "property"):
            lines[0] = f"{kind}: {lines[0]}"
            lines[index] = ""
        else:
            lines[index] = f"{margin}*{kind}*"


def _options_are_code(app: Sphinx, context: Any, lines: list[str]) -> None:
    """Keep the hyphens of options and the stars of patterns in a help text as they are."""
    del app, context
    for index, line in enumerate(lines):
        if not line.startswith(".. option::"):
            line = re.sub(r"(?<![\w`-])--[a-z][a-z-]*", r"``\g<0>``", line)
            lines[index] = re.sub(r"'(\S*\*\S*)'", r"``\1``", line)


def setup(app: Sphinx) -> None:
    """Come after napoleon, which has the priority 500."""
    app.connect("autodoc-process-docstring", _types_are_words, priority=600)
    app.connect("sphinx-click-process-description", _options_are_code)
    app.connect("sphinx-click-process-options", _options_are_code)
