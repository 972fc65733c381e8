"""A figure as inline SVG for the page: real text, the page's colours, nothing from elsewhere."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecjax import figures_base as base
from ecjax.errors import neutral

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
VARIABLES = {
    base.TEXT: "var(--text)",
    base.SOFT: "var(--soft)",
    base.LINE: "var(--line)",
    base.BACK: "var(--back)",
    base.GAIN: "var(--gain)",
    base.LOSS: "var(--loss)",
}
# What matplotlib's own style element says for all elements; in a page it would reach all of it.
LINES = "stroke-linejoin: round; stroke-linecap: butt"
FONT = re.compile(r"font: (?:(bold|[1-9]00) )?([\d.]+)px [^;]*")
NUMBER = re.compile(r"-?\d+\.\d{3,}")
SHORT = ("d", "x", "y", "width", "height", "transform", "points", "viewBox")


def inline_svg(figure: Axes | Figure, title: str, description: str, key: str) -> str:
    """The figure as one `<svg>` element, the same bytes for the same figure.

    Args:
        figure: the figure, or axes in it.
        title, description: for who does not see it; escaped here.
        key: begins every id, so that they are unique on the page; letters, digits, "-" and "_".

    Returns:
        An element without width and height, whose colours are the page's variables.
    """
    if isinstance(figure, Axes):
        figure = figure.get_figure(root=True)
    drawn = io.BytesIO()
    options = {"svg.fonttype": "none", "svg.hashsalt": key, "svg.image_inline": True}
    unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context(options), base.quietly():
        figure.savefig(drawn, format="svg", metadata=unsaid, transparent=True)
    root = ElementTree.fromstring(drawn.getvalue())
    _strip(root)
    for element in root.iter():
        _rewrite(element, key)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{key}-t {key}-d", "style": LINES}
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": f"{key}-{tag[0]}"})
        child.text = neutral(text)
        root.insert(place, child)
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _strip(root: ElementTree.Element) -> None:
    """Without metadata and matplotlib's style element."""
    for parent in list(root.iter()):
        for child in list(parent):
            tag = child.tag.rpartition("}")[2]
            if tag in ("metadata", "style") or (tag == "defs" and _only_style(child)):
                parent.remove(child)


def _only_style(element: ElementTree.Element) -> bool:
    return all(child.tag == f"{{{SVG}}}style" for child in element)


def _rewrite(element: ElementTree.Element, key: str) -> None:
    """Ids of its own, colours of the page, fonts that it inherits, short numbers."""
    given = element.attrib
    for attribute, value in list(given.items()):
        if attribute == "id":
            value = f"{key}-{value}"
        elif attribute == LINK:
            del given[attribute]
            attribute, value = "href", f"#{key}-{value[1:]}"
        elif attribute == "style":
            value = FONT.sub(_font, value)
        elif attribute in SHORT:
            value = NUMBER.sub(
                lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value
            )
        value = value.replace("url(#", f"url(#{key}-")
        for colour, variable in VARIABLES.items():
            value = value.replace(colour, variable)
        given[attribute] = value
    for colour in ("fill", "stroke"):  # a variable is one in a style only
        if given.get(colour, "").startswith("var("):
            given["style"] = f"{colour}: {given.pop(colour)}; {given.get('style', '')}".rstrip("; ")


def _font(found: re.Match) -> str:
    weight = f"font-weight: {found[1]}; " if found[1] else ""
    return f"{weight}font-size: {found[2]}px"
