"""What tests of pictures share: drawing them, and what must hold for all."""

import warnings
import xml.etree.ElementTree as ElementTree
from itertools import combinations

ODD = ("_hidden", "$x^2$ and $y", "long " * 20, "emoji \U0001f3b8", "<b>&amp;", "a\nb\x1b[2J")
"""Names that must be drawn as they are."""
HOSTILE = "<img src=x onerror=alert(1)>-->\"'$\\alpha$\U0001f3b8\x1b[2J\n" + 200 * "x" + ".ogg"

_SMALLEST = 11


def drawn(figure):
    """Draw it all; whatever matplotlib has to complain of is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    return figure


def texts_of(figure):
    """All texts that are seen."""
    from matplotlib.text import Text

    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def check_readable(figure):
    """No text is small or leaves the picture, no label of an axis lies on another."""
    drawn(figure)
    width, height = figure.bbox.size
    for text in texts_of(figure):
        assert text.get_fontsize() >= _SMALLEST, text.get_text()
    for text in figure.texts + [axes.title for axes in figure.axes]:
        if text.get_text():
            box = text.get_window_extent()
            assert box.x0 >= 0, text.get_text()
            assert box.x1 <= width + 1, text.get_text()
            assert box.y0 >= 0, text.get_text()
            assert box.y1 <= height + 1, text.get_text()
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [one.get_window_extent().padded(-1) for one in labels if one.get_text()]
            assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    return figure


def lines(axes, kind):
    """Lines that were drawn as ``kind``."""
    return [line for line in axes.lines if line.get_gid() == kind]


def check_saved(plot, folder):
    """Each format is written, and the SVG holds no element that a name brought in."""
    for ending, magic in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        path = folder / f"picture.{ending}"
        plot(path)
        assert path.read_bytes().startswith(magic)
    tree = ElementTree.parse(folder / "picture.svg")
    assert not {element.tag.rpartition("}")[2] for element in tree.iter()} & {"img", "script", "b"}
